"""What the command lines share: how wrong input is reported, how a command ends, progress bars.

Called by train.py, eval.py, rollout.py and the other files that can be run as a command.
"""

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from tqdm import tqdm

from support.files import InputError


class ArgumentParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message} (--help lists the flags)")


def run_main(main: Callable[[], None]) -> None:
    """Run a command; an InputError, or a file that cannot be read or written, becomes one line on
    stderr and exit code 2.

    SIGTERM does what Ctrl-C does. What the terminal's encoding does not have is printed as an
    escape: a model can write any character, and none may end a run.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except BrokenPipeError:  # of "| head", which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGTERM, usual)


def progress_bar(total: int, desc: str, unit: str, initial: int = 0) -> Any:
    """A tqdm bar. In a file it is a line a minute at most, and not one for each update."""
    pause = 0.1 if sys.stderr.isatty() else 60.0
    # maxinterval: a thread of tqdm's draws bars that have not been drawn for so long
    times = {"mininterval": pause, "maxinterval": max(pause, 10.0)}
    return tqdm(total=total, initial=initial, desc=desc, unit=unit, **times)


def print_above_bar(text: str) -> None:
    """Print while a bar is shown. In a file the bar is not drawn again for it."""
    if sys.stderr.isatty():
        tqdm.write(text)
    else:
        print(text, flush=True)
