"""The command: starts servers of its own, measures, prints a table."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator, Sequence

from sqlalchemy import create_engine, text

from tests.services import Databases, PostgreSQL, Valkey

from . import claiming, deferring, latency, polling, purging, relaying, writing
from .measure import FULL, QUICK, TINY, Result, Sizes
from .report import report
from .surroundings import Durable, Surroundings

MEASURES = {
    module.__name__.rpartition(".")[2]: module.run
    for module in (deferring, claiming, relaying, polling, latency, writing, purging)
}


def main(argv: Sequence[str]) -> int:
    """Measure what the arguments ask for."""
    options = _parser().parse_args(argv)
    sizes = TINY if options.tiny else QUICK if options.quick else FULL
    server = Durable if options.fsync else PostgreSQL
    started = time.monotonic()
    with server() as postgresql, Valkey() as valkey:
        surroundings = Surroundings(postgresql.databases, valkey.url())
        results = list(_measure(surroundings, sizes, options.measures or list(MEASURES)))
        servers = f"servers: {_servers(postgresql.databases, durable=options.fsync)}"
    print(report(results, f"{servers}\ntook {time.monotonic() - started:.0f} s"))
    return 0


def _measure(surroundings: Surroundings, sizes: Sizes, names: Sequence[str]) -> Iterator[Result]:
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        yield from MEASURES[name](surroundings, sizes)


def _servers(databases: Databases, *, durable: bool) -> str:
    engine = create_engine(databases.url)
    with engine.connect() as connection:
        version = connection.execute(text("SHOW server_version")).scalar()
    engine.dispose()
    return f"PostgreSQL {version}, " + ("fsync and full_page_writes on" if durable else "fsync off")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description="Measures what the ledger costs.")
    parser.add_argument("measures", nargs="*", choices=[[], *MEASURES], metavar="MEASURE", help=", ".join(MEASURES))
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="less than a minute")
    sizes.add_argument("--tiny", action="store_true", help="only shows that it works")
    parser.add_argument("--fsync", action="store_true", help="let PostgreSQL wait for the disk")
    return parser


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
