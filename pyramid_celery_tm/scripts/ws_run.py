"""``ws-run``: the web server, a worker, beat and, where none runs, a Redis, in one console; for development."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from ..exceptions import TaskSystemError
from ..startup import parse_variables

PROGRAM = "ws-run"
DESCRIPTION = "Run the web server, a worker, beat and, where none runs, a Redis in one console; for development."
#: What only this command needs, brought by the extra ``run``.
EXTRA = ("honcho", "hupper")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the application of an INI file until CTRL+C; ends the process.

    The exit status is 0 after CTRL+C or SIGTERM; that of the program which ended by itself otherwise, but not 0.

    :param argv: the words behind the name of the program, by default those of the command line.
    """
    options = _parser().parse_args(argv)
    try:
        from .development import Project, run

        project = Project(options.ini, parse_variables(",".join(options.ini_var)))
        status = run(project, beat=options.beat, reload=options.reload)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        sys.exit(f"{PROGRAM}: {error.name} is not installed; pip install 'pyramid_celery_tm[run]' brings it")
    except (TaskSystemError, OSError) as error:
        sys.exit("\n".join(f"{PROGRAM}: {line}" for line in str(error).splitlines()))
    sys.exit(status)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help says what is allowed\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("ini", help="the INI file of the application, or its plaster URI")
    parser.add_argument("--no-reload", dest="reload", action="store_false", help="leave changed files alone")
    parser.add_argument("--no-beat", dest="beat", action="store_false", help="start no beat")
    parser.add_argument(
        "--ini-var", action="append", default=[], metavar="NAME=VALUE,...", help="variables for the INI file"
    )
    return parser


if __name__ == "__main__":
    main()
