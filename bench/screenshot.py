"""A picture of the top of a page that report.py wrote, as the README shows one.

python bench/screenshot.py runs/demo/page.html page.png
"""

import shutil
import subprocess
import sys
from pathlib import Path


def main() -> None:
    page, out = [Path(name).resolve() for name in sys.argv[1:]]
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("expected Chromium in the PATH, found none")
    flags = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=3000"]
    picture = ["--window-size=1400,900", f"--screenshot={out}"]
    done = subprocess.run(
        [browser, *flags, *picture, page.as_uri()], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)


if __name__ == "__main__":
    main()
