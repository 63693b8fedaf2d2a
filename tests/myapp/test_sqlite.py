from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from myapp.models import Customer, get_engine, get_session_factory


def test_transactions_that_read_and_then_write_wait_for_each_other(database_url: str) -> None:
    """Without the lock from the beginning, SQLite answers all but one of them "database is locked" at once."""
    engine = get_engine({"sqlalchemy.url": database_url})
    sessions = get_session_factory(engine)
    with sessions.begin() as dbsession:
        dbsession.add(Customer(name="0", phone="+44"))

    def count_up(_: int) -> None:
        with sessions.begin() as dbsession:
            customer = dbsession.scalars(select(Customer)).one()
            customer.name = str(int(customer.name) + 1)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count_up, range(40)))
    with sessions.begin() as dbsession:
        assert dbsession.scalars(select(Customer)).one().name == "40"
    engine.dispose()
