"""A checkpoint by its hub name: huggingface_hub's real client, before a hub on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMIT = "1" * 40
ASK = ["rollout.py", "some/checkpoint", "Say 3."]


class Hub(BaseHTTPRequestHandler):
    """Serves the files of one folder as the repository some/checkpoint."""

    folder: Path

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        headers = {}
        if path == "/api/models/some/checkpoint/revision/main":
            body = json.dumps({"id": "some/checkpoint", "sha": COMMIT, "siblings": []}).encode()
        elif path == f"/api/models/some/checkpoint/tree/{COMMIT}":
            body = json.dumps(self.listing()).encode()
        elif path.startswith("/some/checkpoint/resolve/"):
            body = (self.folder / path.split("/", 5)[5]).read_bytes()
            headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
        else:
            self.send_error(404)
            return
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def listing(self) -> list[dict[str, object]]:
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return [
            {
                "type": "file",
                "path": path.relative_to(self.folder).as_posix(),
                "size": path.stat().st_size,
                "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
            }
            for path in files
        ]

    def log_message(self, *args: object) -> None:
        """Silent."""


@pytest.fixture
def hub(learned, tmp_path) -> Iterator[str]:
    """Its address."""
    folder = tmp_path / "served"
    (folder / "onnx").mkdir(parents=True)
    for path in learned.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for unwanted in ("pytorch_model.bin", "onnx/config.json"):
        (folder / unwanted).write_text("not to be fetched")
    handler = type("HubOfFolder", (Hub,), {"folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def asked(address: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The client reads its settings when it is imported: a process of its own."""
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home)}
    environment |= {"HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, *ASK], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def test_a_checkpoint_is_fetched_by_its_name_without_pickles_and_folders(hub, tmp_path):
    home = tmp_path / "home"
    answer = asked(hub, home)
    assert answer.returncode == 0 and "####" in answer.stdout, answer.stderr
    (snapshot,) = home.glob("hub/models--some--checkpoint/snapshots/*")
    found = {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*")}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= found
    assert all("/" not in name and name.endswith((".json", ".safetensors")) for name in found)
