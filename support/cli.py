"""What the command lines share: how wrong input is reported, and how a command ends.

Called by train.py, eval.py, rollout.py and the other files that can be run as a command.
"""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from support.files import InputError


class ArgumentParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message} (--help lists the flags)")


def run_main(main: Callable[[], None]) -> None:
    """Run a command; an InputError becomes one line on stderr and exit code 2."""
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
