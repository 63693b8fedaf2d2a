"""``ws-celery``: Celery's command line for a Pyramid application and its INI file.

The application is loaded before Celery parses its own options: those default to the configuration (pool, concurrency,
schedule file), which has to be there by then.
"""

from __future__ import annotations

import sys

from celery import maybe_patch_concurrency

PROGRAM = "ws-celery"


def main() -> None:
    """Run the command of ``sys.argv``, which Celery reads in places, too; ends the process with its exit status."""
    if "multi" not in sys.argv:
        # First of all, as Celery's own command does: gevent must come before what it replaces is imported.
        maybe_patch_concurrency()
    from kombu.exceptions import OperationalError

    from ..startup import REPORTED
    from .running import run

    try:
        run(sys.argv[1:])
    except REPORTED as error:
        sys.exit("\n".join(f"{PROGRAM}: {line}" for line in str(error).splitlines()))
    except OperationalError as error:
        sys.exit(f"{PROGRAM}: the broker does not answer: {error}")


if __name__ == "__main__":
    main()
