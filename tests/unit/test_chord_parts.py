"""Chords that are counted in the ledger."""

import pytest
from celery import chain, chord, group
from celery.app.task import Context
from sqlalchemy import text

from pyramid_celery_tm import chord_parts
from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.ledger import KEY
from tests.application import add, configure, make_config, plain, records, total
from tests.messages import messages, registry, run, task

__all__ = ["registry", "task"]


def test_a_member_of_a_group_says_nothing_of_a_chord(registry, redis_url):
    group(add.s(1, 1), plain.s(2)).delay()
    for message in messages(redis_url):
        run(message)
    assert [row.state for row in records(registry)] == ["done"]


def test_a_chord_that_fails_fails_its_body_once(registry, redis_url, task):
    @task
    def breaks(request):
        raise ZeroDivisionError

    result = chord([add.s(1, 1), breaks.s(), chain(breaks.si(), add.si(1))], total.s().on_error(plain.s()))()
    parts = messages(redis_url)
    for _ in range(2):
        for part in parts:
            run(part)
    assert [sent["task"] for sent in messages(redis_url)] == ["plain"]
    assert "raised ZeroDivisionError" in str(result.result)


def test_a_chord_with_plain_tasks_in_its_header_counts_them_too(registry, redis_url):
    result = chord([plain.s(1), add.s(1, 1), group(plain.s(3), add.s(2, 2)), plain.s(None)], plain.s())()
    for part in messages(redis_url):
        run(part)
    (body,) = messages(redis_url)
    run(body)
    assert result.get(timeout=5) == [1, 2, 4, 3, None]  # the order in which Celery unrolls a group in a header


def test_a_chord_that_is_celerys_own_is_left_to_the_result_backend(registry, redis_url):
    result = chord([plain.s(1), plain.s(2)], plain.s())()
    for part in messages(redis_url):
        run(part)
    (body,) = messages(redis_url)
    run(body)
    assert result.get(timeout=5) == [1, 2]
    assert records(registry) == []


def test_a_part_that_returns_after_its_chord_is_complete_changes_nothing(registry, redis_url):
    chord([add.s(1, 1), add.s(2, 2)], total.s())()
    first, second = messages(redis_url)
    run(first)
    run(second)
    assert len(messages(redis_url)) == 1
    with registry["engine"].begin() as connection:
        connection.execute(text("update task_record set state = 'answered' where name = 'add'"))
    run(second)
    assert messages(redis_url) == []


def test_a_group_in_a_header_comes_as_a_list(registry, redis_url):
    ledger = registry[KEY]
    inner = celery_app.GroupResult("inner", [celery_app.AsyncResult("a"), celery_app.AsyncResult("b")])
    chord_parts.enter(ledger, None, "outer", [inner, celery_app.AsyncResult("c")])
    body = total.s().set(task_id="body")
    for number, name in enumerate("abc"):
        request = Context(id=name, group="outer", chord=body, task="plain")
        assert chord_parts.return_part(celery_app.backend, ledger, request, None, number)
    (message,) = messages(redis_url)
    assert message["args"] == [[[0, 1], 2]]


def test_an_application_without_results_has_chords_if_it_has_a_ledger(redis_url, postgresql_url):
    registry = configure(make_config(postgresql_url, ledger=True), redis_url, result_backend="disabled")
    chord([add.s(1, 1), add.s(2, 2)], total.s())()
    for part in messages(redis_url):
        run(part)
    (body,) = messages(redis_url)
    run(body)
    assert {row.state for row in records(registry)} == {"done"}
    configure(make_config(), redis_url, result_backend="disabled")
    with pytest.raises(NotImplementedError, match="chord"):
        celery_app.backend.ensure_chords_allowed()
