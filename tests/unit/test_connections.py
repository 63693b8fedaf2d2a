import os

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.pool import Pool

from pyramid_celery_tm import connections


def test_a_forked_child_never_uses_a_connection_of_its_parent(postgresql_url):
    engine = create_engine(postgresql_url)
    with engine.connect() as connection:
        parent = connection.scalar(text("select pg_backend_pid()"))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child, which ends without a word
        try:
            connections.discard_inherited()
            connections.discard_inherited()
            seen = []
            for _ in range(2):
                with engine.connect() as connection:
                    seen.append(str(connection.scalar(text("select pg_backend_pid()"))))
            os.write(writer, " ".join(seen).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        first, second = answer.read().split()
    os.waitpid(child, 0)
    assert first == second != str(parent)
    with engine.connect() as connection:
        assert connection.scalar(text("select pg_backend_pid()")) == parent
    engine.dispose()


@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")  # on purpose
def test_an_inherited_connection_is_replaced_in_this_process_too(postgresql_url):
    """The same in one process, for coverage has no eye on the child."""
    forget()
    engine = create_engine(postgresql_url)
    with engine.connect() as connection:
        before = connection.scalar(text("select pg_backend_pid()"))
    connections.discard_inherited()
    connections.discard_inherited()
    try:
        with engine.connect() as connection:
            after = connection.scalar(text("select pg_backend_pid()"))
        with engine.connect() as connection:
            again = connection.scalar(text("select pg_backend_pid()"))
    finally:
        forget()
        engine.dispose()
    assert before != after == again


def forget():
    """A worker in a thread of this process may have installed them."""
    if event.contains(Pool, "checkout", connections._check_out):
        event.remove(Pool, "connect", connections._connect)
        event.remove(Pool, "checkout", connections._check_out)
