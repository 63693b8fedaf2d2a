import logging
import time

import pytest
import transaction
from celery import chain, chord, group

from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.request import open_request
from tests.application import add, configure, make_config, plain, queued, total, worker


def sizes(client):
    return client.keys("celery-taskset-meta-*")


def test_a_chord_in_an_aborted_transaction_leaves_no_key_behind(tm, redis_client):
    chord([add.s(1, 1), add.s(2, 2)])(total.s())
    chord([add.s(1, 1)])(total.s())
    chord([add.s(1, 1), group(add.s(2, 2), add.s(3, 3))])(total.s())
    chord([add.s(1, 1), add.s(2, 2)])(plain.s())
    chord([chord([add.s(1, 1), add.s(2, 2)], total.s()), add.s(1, 1)])(total.s())
    assert redis_client.keys() == []
    tm.abort()
    assert redis_client.keys() == []


def test_a_chord_leaves_with_its_size_at_the_commit(tm, redis_client, redis_url):
    chord([add.s(1, 1), add.s(2, 2)])(total.s())
    tm.commit()
    assert len(sizes(redis_client)) == 1
    assert [message["task"] for message in queued(redis_url)] == ["add", "add"]


def test_a_chord_of_plain_tasks_is_celerys_own(tm, redis_client, redis_url):
    chord([plain.s(1), plain.s(2)])(plain.s())
    assert len(sizes(redis_client)) == 1
    assert len(queued(redis_url)) == 2


def test_a_chord_without_a_transaction_is_celerys_own(request_, redis_client, redis_url):
    chord([add.s(1, 1), add.s(2, 2)])(total.s())
    assert len(sizes(redis_client)) == 1
    assert len(queued(redis_url)) == 2


CHORDS = {
    "of two": (lambda: chord([add.s(1, 1), add.s(2, 2)])(total.s()), 6),
    "of one": (lambda: chord([add.s(1, 1)])(total.s()), 2),
    "with a chain in the header": (lambda: chord([chain(add.s(1, 1), add.s(1)), add.s(2, 2)])(total.s()), 7),
    "with a group in the header": (lambda: chord([group(add.s(1, 1), add.s(2, 2)), add.s(3, 3)])(plain.s()), None),
    "with a chain as body": (lambda: chord([add.s(1, 1), add.s(2, 2)])(total.s() | add.s(1)), 7),
    "by pipe": (lambda: (group(add.s(1, 1), add.s(2, 2)) | total.s()).delay(), 6),
    "with plain tasks in the header": (lambda: chord([plain.s(1), add.s(2, 2)])(total.s()), 5),
    "with a plain header": (lambda: chord([plain.s(1), plain.s(2)])(total.s()), 3),
    "with a plain header of one": (lambda: chord([plain.s(1)])(total.s()), 1),
    "with a plain task at the end": (lambda: chord([add.s(1, 1), plain.s(2)])(total.s()), 4),
    "with a plain body": (lambda: chord([add.s(1, 1), add.s(2, 2)])(plain.s()), [2, 4]),
}


def test_a_header_of_plain_tasks_may_end_before_the_commit(tm):
    with worker():
        result = chord([plain.s(1), plain.s(2)])(total.s())
        for header in result.parent:
            header.get(timeout=20)
        tm.commit()
        assert result.get(timeout=20) == 3


@pytest.mark.parametrize("kind", CHORDS)
def test_a_real_worker_completes_a_chord(kind, tm):
    call, expected = CHORDS[kind]
    result = call()
    tm.commit()
    with worker():
        value = result.get(timeout=20)
    assert expected is None or value == expected


CANVAS = {
    "group": lambda **options: group(add.s(1, 1), add.s(2, 2)).apply_async(**options),
    "chord": lambda **options: chord([add.s(1, 1), add.s(2, 2)], total.s()).apply_async(**options),
    "chain that ends in a group": lambda **options: chain(add.s(1, 1), group(add.s(1), add.s(2))).apply_async(
        **options
    ),
    "chain with a group inside": lambda **options: chain(add.s(1, 1), group(add.s(1), add.s(2)), total.s()).apply_async(
        **options
    ),
    "chord in a chord": lambda **options: chord(
        [chord([add.s(1, 1), add.s(2, 2)], total.s()), add.s(1, 1)], total.s()
    ).apply_async(**options),
    "chord with a group as body": lambda **options: chord(
        [add.s(1, 1), add.s(2, 2)], group(total.s(), total.s())
    ).apply_async(**options),
    "chord with a plain body": lambda **options: chord([add.s(1, 1), add.s(2, 2)], plain.s()).apply_async(**options),
}


@pytest.mark.parametrize("kind", CANVAS)
def test_a_result_backend_that_is_down_does_not_hold_up_the_call_of_a_canvas(redis_url, valkey, kind):
    registry = configure(make_config(), redis_url, result_backend=valkey.url())
    valkey.stop()
    with open_request(registry) as request:
        request.tm.begin()
        started = time.monotonic()
        CANVAS[kind]()
        assert time.monotonic() - started < 1
        request.tm.abort()


@pytest.mark.parametrize("kind", ["group", "chord", "chain that ends in a group"])
def test_neither_does_it_in_a_script(redis_url, valkey, kind):
    configure(make_config(), redis_url, result_backend=valkey.url())
    valkey.stop()
    tm = transaction.TransactionManager(explicit=True)
    tm.begin()
    started = time.monotonic()
    CANVAS[kind](tm=tm)
    assert time.monotonic() - started < 1
    tm.abort()


@pytest.mark.parametrize("broken", ["stop", "freeze"])
def test_a_broken_result_backend_holds_up_neither_view_nor_commit(redis_url, valkey, caplog, broken):
    registry = configure(make_config(), redis_url, result_backend=valkey.url())
    getattr(valkey, broken)()
    with caplog.at_level(logging.ERROR), open_request(registry) as request:
        started = time.monotonic()
        request.tm.begin()
        chord([add.s(1, 1), add.s(2, 2)])(total.s())
        chord([add.s(1, 1), add.s(2, 2)])(total.s())
        assert time.monotonic() - started < 1
        request.tm.commit()
        assert time.monotonic() - started < 6.5
    assert caplog.text.count("a chord that was called may not complete") >= 2
    assert len(queued(redis_url)) == 4
    if broken == "freeze":
        valkey.thaw()


def test_a_result_backend_that_refuses_is_logged(tm, caplog, monkeypatch):
    monkeypatch.setattr(celery_app.backend, "_set_chord_key", lambda *args: 1 / 0)
    chord([add.s(1, 1), add.s(2, 2)])(total.s())
    with caplog.at_level(logging.ERROR):
        tm.commit()
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("backend", ["cache+memory://", "db+sqlite:///{tmp_path}/results.sqlite"])
def test_backends_that_poll_for_a_chord_wait_for_the_commit_too(redis_url, tmp_path, backend):
    registry = configure(make_config(), redis_url, result_backend=backend.format(tmp_path=tmp_path))
    with open_request(registry) as request:
        request.tm.begin()
        chord([add.s(1, 1), add.s(2, 2)])(total.s())
        assert queued(redis_url) == []
        request.tm.commit()
    assert {message["task"] for message in queued(redis_url)} >= {"add"}
