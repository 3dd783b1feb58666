"""Compare runs in a table, and make one web page of them: curves, and all that was constructed.

    python report.py runs/demo/tapo runs/demo/grpo     # writes runs/demo/tapo/page.html
    python report.py runs/mine --watch                 # again and again while the run goes

The table has the runs at equal steps and at equal generated tokens (support/summaries.py). The page
is one file that needs nothing else: no network, no server. The curves need matplotlib
(pip install matplotlib); without it the page has all the rest.
"""

import time
from pathlib import Path

from support.cli import ArgumentParser, run_main
from support.curves import can_draw
from support.files import InputError, note, write_text
from support.page import QUIET_MINUTES, RunLog, page_of, read_run
from support.summaries import comparison, names_of

SECONDS = 20  # between two pages of --watch


def write_page(folders: list[Path], out: Path, watch: bool) -> list[RunLog]:
    """Write the page of these runs, and return what it was made of.

    Raises InputError for a folder that holds no run, and for a file that cannot be written.
    """
    names = names_of(folders)
    runs = [read_run(folder, name) for folder, name in zip(folders, names, strict=True)]
    goes_on = watch and any(run.goes_on() for run in runs)
    page = page_of(runs, folders, refresh=SECONDS if goes_on else None)
    try:
        write_text(out, page)
    except OSError as error:
        raise InputError(f"--out: expected a file that can be written, found {error}") from None
    return runs


def wait_for_first_lines(folders: list[Path]) -> None:
    """Wait for a run that has begun but has logged nothing yet, while it writes other files."""
    for folder in folders:
        while (folder / "config.json").is_file() and not (folder / "metrics.jsonl").is_file():
            written_at = max(path.stat().st_mtime for path in folder.iterdir())
            if time.time() - written_at > 60 * QUIET_MINUTES:
                break
            time.sleep(SECONDS)


def print_comparison(folders: list[Path]) -> None:
    """The table of these runs, or why they cannot stand side by side."""
    try:
        print(comparison(folders), end="\n\n")
    except InputError as error:
        note(f"no table of these runs: {error}")


def main() -> None:
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs (--out of train.py)")
    parser.add_argument("--out", type=Path, help="the page (default: page.html in the first run)")
    text = f"write the page anew every {SECONDS} seconds until the runs are done, or seem stopped"
    parser.add_argument("--watch", action="store_true", help=text)
    arguments = parser.parse_args()
    out = arguments.out or arguments.runs[0] / "page.html"

    if arguments.watch:
        wait_for_first_lines(arguments.runs)
    runs = write_page(arguments.runs, out, arguments.watch)
    if len(runs) > 1:
        print_comparison(arguments.runs)
    if not can_draw():
        note("the page has no curves, for which matplotlib is needed: pip install matplotlib")
    megabytes = out.stat().st_size / 1e6
    print(f"{out} ({megabytes:.1f} MB): open it in a browser")
    while arguments.watch and any(run.goes_on() for run in runs):
        time.sleep(SECONDS)
        runs = write_page(arguments.runs, out, watch=True)
    for run in runs:
        if not run.is_done() and not run.goes_on():
            note(f"{run.name}: no new line for {QUIET_MINUTES} minutes; it seems to have stopped")


if __name__ == "__main__":
    run_main(main)
