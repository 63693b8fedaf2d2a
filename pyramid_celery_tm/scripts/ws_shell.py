"""``ws-shell production.ini``: a Python prompt inside the application, or a script from standard input."""

from __future__ import annotations

import argparse
import code
import sys
from collections.abc import Sequence
from types import CodeType
from typing import Any

from ..startup import REPORTED, parse_variables, start
from .shell_names import describe, read_pshell, shell_names

PROGRAM = "ws-shell"


def main(argv: Sequence[str] | None = None) -> int:
    """Open the shell, or run the script that is piped in.

    :param argv: the words behind the name of the program; the command line's by default.
    :returns: the exit status: 1 without a file, with a faulty one, and for a script that fails.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.ini is None:
        parser.print_usage(sys.stderr)
        return 1
    try:
        variables = parse_variables(arguments.ini_var)
        registry = start(arguments.ini, variables)
        pshell = read_pshell(arguments.ini, variables)
    except REPORTED as error:
        print(*(f"{PROGRAM}: {line}" for line in str(error).splitlines()), sep="\n", file=sys.stderr)
        return 1
    with shell_names(registry, pshell) as names:
        # Not to standard output: a script's belongs to the script.
        print(f"Names of {arguments.ini}:\n{describe(names)}", file=sys.stderr)
        return _interact(names) if sys.stdin.isatty() else run_script(sys.stdin.read(), names)


def run_script(source: str, names: dict[str, Any]) -> int:
    """Run a script.

    :returns: 0, or 1 if it raised an exception, whose traceback is printed.
    """
    script = _Script({**names, "__name__": "__main__"})
    compiled = script.compiled(source)
    if compiled is not None:
        script.runcode(compiled)
    return int(script.failed)


class _Script(code.InteractiveInterpreter):
    """The interpreter of the standard library, which prints tracebacks; this one remembers that it did."""

    failed = False

    def compiled(self, source: str) -> CodeType | None:
        try:
            return compile(source, "<stdin>", "exec")
        except (OverflowError, SyntaxError, ValueError):
            self.failed = True
            self.showsyntaxerror("<stdin>")
            return None

    def showtraceback(self) -> None:
        self.failed = True
        super().showtraceback()


def _interact(names: dict[str, Any]) -> int:
    try:
        from IPython import start_ipython
    except ImportError:
        code.interact(banner="", local=names, exitmsg="")
    else:
        start_ipython(argv=["--no-banner"], user_ns=names)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(PROGRAM, description="A Python prompt inside the Pyramid application.")
    parser.add_argument("ini", nargs="?", metavar="INI", help="INI file of the application, or any plaster URI")
    parser.add_argument("--ini-var", metavar="NAME=VALUE,...", help="variables for the INI file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
