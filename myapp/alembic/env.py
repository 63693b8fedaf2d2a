"""Runs the migrations for ``alembic -c development.ini`` and for ``initialize_myapp_db``.

The latter hands in the connection of the application's own engine (``attributes["connection"]``), so that there is one
place that knows how to connect.
"""

from __future__ import annotations

from typing import Any

from alembic import context
from pyramid.paster import get_appsettings, setup_logging
from sqlalchemy import Connection

from myapp.environment import with_secrets
from myapp.models import Base, get_engine
from myapp.models.meta import UtcDateTime


def render_item(kind: str, item: Any, autogen_context: Any) -> str | bool:
    """Write our own column type into new migrations as what the database sees of it."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def options() -> dict[str, Any]:
    """:return: what both kinds of run have in common."""
    # batch: SQLite alters a table by copying it
    return {"target_metadata": Base.metadata, "render_as_batch": True, "render_item": render_item}


def settings() -> dict[str, Any]:
    """:return: the settings of the INI file that alembic was called with."""
    return with_secrets(get_appsettings(context.config.config_file_name))


def run_offline() -> None:
    """Print the SQL."""
    context.configure(url=settings()["sqlalchemy.url"], literal_binds=True, **options())
    with context.begin_transaction():
        context.run_migrations()


def run_online(connection: Connection) -> None:
    """Change the database."""
    context.configure(connection=connection, **options())
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
elif (given := context.config.attributes.get("connection")) is not None:
    run_online(given)
else:
    setup_logging(context.config.config_file_name)
    engine = get_engine(settings())
    with engine.connect() as opened:
        run_online(opened)
        opened.commit()
    engine.dispose()
