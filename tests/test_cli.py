"""How a command ends, and what it prints where the terminal or the log can hold little."""

import io
import signal
import sys

import pytest

from support.cli import print_above_bar, progress_bar, run_main
from support.files import InputError


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_text_that_the_terminal_cannot_show_does_not_end_the_run(monkeypatch, encoding):
    """A sample printed at step 1 took every step since the last checkpoint with it."""
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding=encoding))
    text = "2 \N{RIGHTWARDS ARROW} 3, \N{CJK UNIFIED IDEOGRAPH-4F60}, \N{GRINNING FACE}"

    def main() -> None:
        print_above_bar(text)
        sys.stdout.flush()

    run_main(main)
    sys.stdout.flush()
    line = shown.getvalue().decode(encoding)
    assert line.rstrip() == text if encoding == "utf-8" else r"2 \u2192 3, \u4f60" in line


@pytest.fixture
def in_the_foreground():
    """A shell lets what it starts in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_sigterm_ends_a_command_as_ctrl_c_does(in_the_foreground, capsys):
    before = signal.getsignal(signal.SIGTERM)
    for number in (signal.SIGINT, signal.SIGTERM):
        with pytest.raises(SystemExit) as stop:
            run_main(lambda number=number: signal.raise_signal(number))
        assert stop.value.code == 130 and capsys.readouterr().err == "\nstopped\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("--k: expected 2, found 1"), "--k: expected 2, found 1"),
        (OSError(28, "No space left on device", "a.json"), "[Errno 28] No space left on device"),
    ],
)
def test_wrong_input_and_a_full_disk_are_one_line_and_code_2(error, said, capsys):
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        run_main(main)
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {said}") and shown.count("\n") == 1


class Terminal(io.StringIO):
    def __init__(self, is_terminal: bool):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


def drawn(monkeypatch, is_terminal: bool, seconds: float) -> int:
    """How often a bar is drawn during 2,000 updates that take so long in all."""
    clock = {"now": 0.0}
    monkeypatch.setattr("tqdm.std.time", lambda: clock["now"])
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)  # no thread with a clock of its own
    stderr = Terminal(is_terminal)
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress_bar(2000, "cold start", "update") as bar:
        for _ in range(2000):
            clock["now"] += seconds / 2000
            bar.set_postfix(refresh=False, loss="0.1")
            bar.update()
    return stderr.getvalue().count("\r")


def test_a_bar_in_a_file_is_a_line_a_minute_at_most(monkeypatch):
    """The log of a cold start held 2,000 of them."""
    assert drawn(monkeypatch, is_terminal=False, seconds=840.0) <= 14 + 2  # and first and last
    assert drawn(monkeypatch, is_terminal=False, seconds=20.0) <= 2
    assert drawn(monkeypatch, is_terminal=True, seconds=840.0) > 1000


def test_samples_in_a_file_draw_no_bar(monkeypatch, capsys):
    stderr = Terminal(is_terminal=False)
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress_bar(9, "tapo", "step"):
        before = stderr.getvalue()
        print_above_bar("a sample")
        assert stderr.getvalue() == before and capsys.readouterr().out == "a sample\n"
