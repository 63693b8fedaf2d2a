"""Chords that are counted in the ledger."""

from celery import chain, chord, group

from tests.application import add, plain, records, total
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
