"""Messages that are run one by one, as a child of a worker runs them."""

import pytest
from celery.app.task import Context
from celery.app.trace import build_tracer

from pyramid_celery_tm import TransactionalTask
from pyramid_celery_tm.app import celery_app
from tests.application import configure, make_config, queued, records


@pytest.fixture
def registry(redis_url, postgresql_url):
    settings = {"tasks.max_starts": "3"}
    return configure(make_config(postgresql_url, ledger=True, **settings), redis_url)


@pytest.fixture
def task(registry):
    """Makes a task of a function, for the length of a test."""
    names = []

    def make(function, base=TransactionalTask, **options):
        names.append(f"test.{function.__name__}")
        return celery_app.task(base=base, name=names[-1], lazy=False, shared=False, **options)(function)

    yield make
    for name in names:
        del celery_app.tasks[name]


def run(message, **delivery_info):
    """Run a message as a child of a worker does; the result, or None, and the state."""
    task = celery_app.tasks[message["task"]]
    embed = message["embed"]
    request = {**message, **embed, "delivery_info": {"routing_key": "celery", **delivery_info}, "hostname": "test"}
    for name in ("args", "kwargs", "embed", "envelope"):
        del request[name]
    ended = build_tracer(task.name, task, app=celery_app)(message["id"], message["args"], message["kwargs"], request)
    return ended.retval, None if ended.info is None else ended.info.state


def messages(url):
    """What waits in the queues, taken out."""
    found = queued(url)
    celery_app.control.purge()
    return found


def call(redis_url, task, *args, **options):
    """Call a task outside of any transaction; its message."""
    task.apply_async(args, **options)
    (message,) = messages(redis_url)
    return message


def row_of(registry, message):
    return next(row for row in records(registry) if row.id == message["id"])


def context(message):
    task = celery_app.tasks[message["task"]]
    return task, Context({name: value for name, value in message.items() if name not in ("args", "kwargs")})
