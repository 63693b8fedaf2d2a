from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from myapp.models import (
    AlreadyCompleted,
    Base,
    Customer,
    Delivery,
    DeliveryState,
    Review,
    ReviewMessage,
    TaskRecord,
    get_engine,
)
from myapp.models.meta import utcnow
from myapp.scripts.initialize_db import alembic_config

from .conftest import on_both_databases


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = get_engine({"sqlalchemy.url": database_url})
    yield engine
    engine.dispose()


def delivered(**values: Any) -> Delivery:
    return Delivery(customer=Customer(name="Ada", phone="+44"), **values)


def test_a_delivery_is_open_until_it_is_completed(engine: Engine) -> None:
    with Session(engine) as dbsession:
        delivery = delivered()
        dbsession.add(delivery)
        dbsession.flush()
        assert delivery.state is DeliveryState.open
        assert not delivery.is_completed
        delivery.complete()
        assert delivery.is_completed
        assert delivery.completed_at is not None
        assert utcnow() - delivery.completed_at < timedelta(minutes=1)


def test_a_delivery_is_not_completed_twice() -> None:
    delivery = delivered(state=DeliveryState.open)
    delivery.complete()
    first = delivery.completed_at
    with pytest.raises(AlreadyCompleted, match="was completed at"):
        delivery.complete()
    assert delivery.completed_at == first


@on_both_databases
def test_a_moment_comes_back_aware_and_in_utc(engine: Engine) -> None:
    noon_in_tokyo = datetime(2025, 1, 2, 12, tzinfo=timezone(timedelta(hours=9)))
    with Session(engine) as dbsession:
        dbsession.add(delivered(completed_at=noon_in_tokyo))
        dbsession.commit()
        kept = dbsession.query(Delivery).one().completed_at
    assert kept == noon_in_tokyo
    assert kept is not None
    assert kept.tzinfo is UTC


def test_a_moment_without_a_time_zone_is_refused(engine: Engine) -> None:
    with Session(engine) as dbsession:
        dbsession.add(delivered(completed_at=datetime(2025, 1, 2)))  # noqa: DTZ001 - that is what is refused
        with pytest.raises(StatementError, match="needs a time zone"):
            dbsession.flush()


@on_both_databases
def test_a_delivery_has_one_message_at_most(engine: Engine) -> None:
    with Session(engine) as dbsession:
        delivery = delivered()
        dbsession.add(delivery)
        dbsession.flush()
        values = {"delivery_id": delivery.id, "phone": "+44", "text": "How was it?"}
        dbsession.add_all([ReviewMessage(**values), ReviewMessage(**values)])
        with pytest.raises(IntegrityError, match=r"(?i)unique"):
            dbsession.flush()


@on_both_databases
@pytest.mark.parametrize("rating", [0, 6])
def test_a_rating_beyond_five_stars_is_refused(engine: Engine, rating: int) -> None:
    with Session(engine) as dbsession:
        dbsession.add(Review(delivery=delivered(), rating=rating))
        with pytest.raises(IntegrityError, match="ck_review_rating"):
            dbsession.flush()


@on_both_databases
def test_a_delivery_of_nobody_is_refused(engine: Engine) -> None:
    with Session(engine) as dbsession:
        dbsession.add(Delivery(customer_id=404))
        with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
            dbsession.flush()


@on_both_databases
def test_the_migrations_make_what_the_models_describe(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


@on_both_databases
def test_the_migrations_make_the_indexes_of_the_ledger_with_their_conditions(engine: Engine) -> None:
    """Which alembic does not compare."""
    migrated = indexes_of_the_ledger(engine)
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
        Base.metadata.create_all(connection)
    assert migrated == indexes_of_the_ledger(engine)
    assert len(migrated) == 4


def indexes_of_the_ledger(engine: Engine) -> dict[str | None, tuple[Any, ...]]:
    name = f"{engine.dialect.name}_where"
    return {
        index["name"]: (index["column_names"], bool(index["unique"]), str(index["dialect_options"].get(name)))
        for index in inspect(engine).get_indexes(TaskRecord.__tablename__)
    }


@on_both_databases
def test_the_migrations_can_be_taken_back_and_made_again(engine: Engine) -> None:
    config = alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    assert set(inspect(engine).get_table_names()) == {"alembic_version", *Base.metadata.tables}
