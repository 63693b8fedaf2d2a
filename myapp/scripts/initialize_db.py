"""``initialize_myapp_db development.ini``: make the tables, and something to look at. Running it again is harmless."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.resources import files

from alembic import command
from alembic.config import Config
from pyramid.paster import bootstrap, setup_logging
from pyramid.settings import asbool
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from ..models import Customer, Delivery

DEMO = {
    ("Ada", "+441632960001"): ("a mechanical clock", "twelve punched cards"),
    ("Grace", "+12025550142"): ("a nanosecond of wire", "one moth, taped"),
    ("Alan", "+441632960077"): ("an endless paper tape",),
}
"""Who (numbers that belong to nobody) waits for what."""


def alembic_config() -> Config:
    """:return: a configuration that finds the migrations wherever the package is installed."""
    config = Config()
    config.set_main_option("script_location", str(files("myapp") / "alembic").replace("%", "%%"))
    return config


def upgrade(engine: Engine) -> None:
    """Bring the tables to the newest form.

    :param engine: where; new tables are made, old ones are changed, and what they hold stays.
    """
    config = alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def add_demo_data(dbsession: Session) -> int:
    """Add a few customers and open deliveries, if there are no customers at all.

    :param dbsession: with a transaction open.
    :return: how many deliveries were added.
    """
    if dbsession.scalar(select(Customer.id).limit(1)) is not None:
        return 0
    deliveries = [
        Delivery(customer=customer, contents=each)
        for customer, contents in (
            (Customer(name=name, phone=phone), parcels) for (name, phone), parcels in DEMO.items()
        )
        for each in contents
    ]
    dbsession.add_all(deliveries)
    return len(deliveries)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: the arguments without the name of the command; those of the process by default.
    :return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="initialize_myapp_db", description=__doc__)
    parser.add_argument("config_uri", help="the INI file, such as development.ini")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    setup_logging(arguments.config_uri)
    with bootstrap(arguments.config_uri) as env:
        registry, request = env["registry"], env["request"]
        upgrade(registry["dbengine"])
        if asbool(registry.settings.get("demo_data", False)):
            with request.tm:
                print(f"Deliveries added: {add_demo_data(request.dbsession)}")
        registry["dbengine"].dispose()
    return 0


if __name__ == "__main__":
    main()
