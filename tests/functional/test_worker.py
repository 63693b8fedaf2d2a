"""What Celery's own features do with our tasks, in a real worker."""

import pytest
from celery import chain, chord, group
from sqlalchemy import text

from pyramid_celery_tm import TransactionalTask
from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.request import open_request
from tests.application import Note, add, configure, failed, make_config, plain, retrying, texts, total, worker, write
from tests.functional.apps.notes import committed, fails
from tests.services import wait_until


@pytest.fixture(params=[False, True], ids=["without a ledger", "with a ledger"])
def registry(postgresql_url, redis_url, request):
    return configure(make_config(postgresql_url, ledger=request.param), redis_url)


@pytest.fixture
def request_(registry):
    with open_request(registry) as request:
        yield request


def notes(registry, *expected):
    """Wait until these notes are there, in any order."""
    wait_until(lambda: sorted(texts(registry)) == sorted(expected), 20, f"the notes {expected}, not {texts(registry)}")


def test_success_is_never_visible_before_the_commit(registry, request_):
    with registry["engine"].begin() as connection:
        connection.execute(
            text("create function hold_up() returns trigger language plpgsql as $$begin perform pg_sleep(1.5);"
                 " return null; end$$")
        )  # fmt: skip
        connection.execute(
            text("create constraint trigger late after insert on note deferrable initially deferred"
                 " for each row execute function hold_up()")
        )  # fmt: skip
    with worker():
        result = committed.delay("late")
        wait_until(lambda: result.state == "SUCCESS", 20, "success", every=0.001)
        assert texts(registry) == ["committed late"]


def test_a_failing_commit_is_a_failure(registry):
    def orphan(request):
        request.dbsession.add(Note(text="orphan", parent_id=999))

    task = celery_app.task(base=TransactionalTask, name="test.orphan", lazy=False, shared=False)(orphan)
    with worker():
        result = task.delay()
        assert "IntegrityError" in str(result.get(timeout=20, propagate=False))
    assert result.state == "FAILURE"
    del celery_app.tasks["test.orphan"]


def test_a_retry_outlives_the_transaction_that_it_is_asked_for_in(registry):
    with worker():
        assert retrying.delay("try", 3).get(timeout=30) == 3
    assert texts(registry) == ["try 3"]


def test_an_automatic_retry_does_too(registry):
    seen = []

    def flaky(request):
        request.dbsession.add(Note(text=f"flaky {len(seen)}"))
        seen.append(1)
        if len(seen) < 3:
            raise OSError("again")

    task = celery_app.task(
        base=TransactionalTask,
        name="test.flaky",
        lazy=False,
        shared=False,
        autoretry_for=(OSError,),
        default_retry_delay=0,
    )(flaky)
    with worker():
        task.delay().get(timeout=30)
    assert texts(registry) == ["flaky 2"]
    del celery_app.tasks["test.flaky"]


def test_links_and_chains_go_on_after_the_commit(registry, request_):
    with worker():
        with request_.tm:
            linked = add.apply_async((1, 2), link=committed.s())
            chained = chain(add.s(1, 1), add.s(2), committed.s())()
        assert linked.get(timeout=20) == 3
        assert chained.get(timeout=20) == 4
        notes(registry, "committed 3", "committed 4")


def test_a_task_writes_and_its_chain_reads_what_it_wrote(registry, request_):
    with worker():
        with request_.tm:
            result = chain(write.s("first"), committed.s())()
        assert result.get(timeout=20) == "first"
    assert texts(registry) == ["first", "committed first"]


ERRBACKS = {
    "two arguments": lambda: failed.s("errback"),
    "in a list": lambda: [failed.s("errback")],
}


@pytest.mark.parametrize("kind", ERRBACKS)
def test_an_errback_is_called_with_the_id_of_the_failed_task_and_commits(registry, request_, kind):
    with worker():
        with request_.tm:
            fails.apply_async(link_error=ERRBACKS[kind]())
        notes(registry, "errback ValueError")


def test_an_errback_runs_once_and_only_when_the_last_retry_has_failed(registry, request_):
    def gives_up(self, request):
        raise self.retry(countdown=0, max_retries=2, exc=OSError("no"))

    task = celery_app.task(base=TransactionalTask, name="test.gives_up", bind=True, lazy=False, shared=False)(gives_up)
    with worker():
        with request_.tm:
            result = task.apply_async(link_error=failed.s("given up"))
        assert isinstance(result.get(timeout=20, propagate=False), OSError)
        notes(registry, "given up OSError")
    del celery_app.tasks["test.gives_up"]


def test_a_chain_that_fails_calls_its_errback(registry, request_):
    with worker():
        with request_.tm:
            chain(add.si(1, 1), fails.si(), committed.si("never")).apply_async(link_error=failed.s("chain"))
        notes(registry, "chain ValueError")


def test_groups_chords_and_chunks_complete(registry, request_):
    with worker():
        with request_.tm:
            grouped = group(add.s(number, number) for number in range(5))()
            nested = group(add.s(1, 1), chain(add.s(2, 2), group(add.s(1), add.s(2))))()
            chorded = chord([add.s(number, number) for number in range(5)])(total.s())
            in_chunks = add.chunks([(number, number) for number in range(5)], 2).apply_async()
            starred = add.starmap([(1, 2), (3, 4)]).apply_async()
        assert grouped.get(timeout=20) == [0, 2, 4, 6, 8]
        assert nested.get(timeout=20) == [2, [5, 6]]
        assert chorded.get(timeout=20) == 20
        assert in_chunks.get(timeout=20) == [[0, 2], [4, 6], [8]]
        assert starred.get(timeout=20) == [3, 7]


def test_a_replaced_task_is_not_lost(registry):
    def replaced(self, request):
        raise self.replace(committed.si("replacement"))

    task = celery_app.task(base=TransactionalTask, name="test.replaced", bind=True, lazy=False, shared=False)(replaced)
    with worker():
        assert task.delay().get(timeout=20) == "replacement"
    assert texts(registry) == ["committed replacement"]
    del celery_app.tasks["test.replaced"]


def test_a_call_is_a_child_of_the_task_that_made_it(registry):
    with worker():
        result = write.delay("parent")
        result.get(timeout=20)
        [child] = result.children
        assert child.get(timeout=20) == 2


def test_the_results_of_plain_tasks_and_ours_mix(registry, request_):
    with worker():
        with request_.tm:
            mixed = chain(plain.s(3), add.s(4))()
        assert mixed.get(timeout=20) == 7
