"""The tasks that are called, and the ways to call them."""

from __future__ import annotations

import time
from typing import Any

import redis
from celery import Celery

from pyramid_celery_tm import TransactionalTask
from pyramid_celery_tm.app import celery_app
from tests.application import Note

#: What a task is given: a number and a few words, as most are.
ARGUMENTS = (12345, "a machine with a name of some length")
#: Where a task says when it has started.
STARTED = "benchmarks.started"


@celery_app.task(base=TransactionalTask, name="benchmarks.write", ignore_result=True)
def write(request: Any, number: int, words: str) -> None:
    """Write a row."""
    request.dbsession.add(Note(text=words))


@celery_app.task(base=TransactionalTask, name="benchmarks.write_and_return", ignore_result=True)
def write_and_return(request: Any, number: int, words: str) -> int:
    """Write a row, and return something that the ledger keeps."""
    request.dbsession.add(Note(text=words))
    return number


@celery_app.task(name="benchmarks.write_by_hand", ignore_result=True)
def write_by_hand(number: int, words: str) -> None:
    """Write a row with a session of its own, without this library."""
    with celery_app.conf.PYRAMID_REGISTRY["dbsession_factory"]() as session:
        session.add(Note(text=words))
        session.commit()


@celery_app.task(base=TransactionalTask, name="benchmarks.tell", ignore_result=True)
def tell(request: Any, number: int, words: str) -> None:
    """Say that it has started."""
    _tell(celery_app)


@celery_app.task(name="benchmarks.tell_plainly", ignore_result=True)
def tell_plainly(number: int, words: str) -> None:
    """Say that it has started: a task of plain Celery."""
    _tell(celery_app)


def _tell(app: Celery) -> None:
    now = time.time()
    with redis.Redis.from_url(app.conf.broker_url) as client:
        client.rpush(STARTED, now)
