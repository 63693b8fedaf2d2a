"""A ledger in a database whose every transaction is SERIALIZABLE: claims conflict, too."""

import pytest
from sqlalchemy import func, select

from pyramid_celery_tm import TransactionalTask
from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.request import open_request
from tests.application import Note, configure, make_config, records, texts, worker
from tests.services import wait_until

TASKS = 24


@celery_app.task(base=TransactionalTask, name="counts", attempts=50)
def counts(request, number):
    """Each of these reads what all others write."""
    total = request.dbsession.scalar(select(func.count(Note.id)))
    request.dbsession.add(Note(text=f"{number} {total}"))
    return total


@pytest.fixture
def registry(postgresql_url, redis_url):
    return configure(make_config(postgresql_url, ledger=True, isolation="SERIALIZABLE"), redis_url)


def test_conflicting_tasks_have_their_effect_once_each(registry, capsys):
    with open_request(registry) as request, request.tm:
        for number in range(TASKS):
            counts.delay(number)
    with worker(pool="threads", concurrency=8):
        wait_until(lambda: {row.state for row in records(registry)} == {"done"}, 60, "all to be done")
    effects = texts(registry)
    lost, doubled = TASKS - len({text.split()[0] for text in effects}), len(effects) - len(set(effects))
    starts = sum(row.starts for row in records(registry))
    with capsys.disabled():
        print(
            f"\nSERIALIZABLE: {TASKS} called, {starts} started, {len(effects)} effects, {lost} lost, {doubled} doubled"
        )
    assert sorted(int(text.split()[1]) for text in effects) == list(range(TASKS))  # as if one after the other
