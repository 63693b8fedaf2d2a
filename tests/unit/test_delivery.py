"""What the ledger says to a message that a worker was given."""

import threading

import pytest
from celery import chord
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from pyramid_celery_tm import RequestAwareTask, TransactionalTask, delivery
from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.ledger import KEY
from tests.application import Note, add, plain, queued, records, texts, total, write
from tests.messages import call, messages, registry, row_of, run, task
from tests.services import wait_until

__all__ = ["registry", "task"]


def test_a_twin_is_answered_as_the_first_one_was(registry, redis_url):
    message = call(redis_url, write, "hello")
    assert message["ledger"] == 1
    assert run(message) == ("hello", None)
    assert run(message) == ("hello", None)
    assert texts(registry) == ["hello"]
    assert celery_app.AsyncResult(message["id"]).get(timeout=5) == "hello"
    row = row_of(registry, message)
    assert (row.state, row.starts, row.result, row.due_at) == ("done", 1, '"hello"', None)
    assert len(queued(redis_url)) == 1  # what the task called


def test_a_twin_does_not_call_back_again(registry, redis_url):
    message = call(redis_url, add, 1, 2, link=plain.s(), link_error=plain.s())
    assert run(message)[1] is None
    assert [sent["task"] for sent in messages(redis_url)] == ["plain"]
    assert run(message)[1] is None
    assert messages(redis_url) == []


def test_a_message_whose_followers_may_not_have_left_has_them_sent_again(registry, redis_url):
    message = call(redis_url, add, 1, 2, link=add.s(3))
    with registry["engine"].begin() as connection:
        connection.execute(text("update task_record set state = 'answered', result = '3'"))
    assert run(message) == (3, None)
    (follower,) = messages(redis_url)
    assert follower["args"] == [3, 3]
    assert row_of(registry, message).state == "done"
    run(message)
    assert messages(redis_url) == []


def test_the_twin_of_one_that_failed_fails_as_that_did(registry, redis_url, task):
    @task
    def breaks(request):
        request.dbsession.add(Note(text="never"))
        raise ValueError("on purpose")

    message = call(redis_url, breaks, link_error=plain.s())
    for _ in range(2):
        _, state = run(message)
        assert state == "FAILURE"
        assert "on purpose" in str(celery_app.AsyncResult(message["id"]).result)
    row = row_of(registry, message)
    assert (row.state, row.error) == ("failed", "ValueError: on purpose")
    assert "in breaks" in row.traceback
    assert texts(registry) == []
    assert [sent["task"] for sent in messages(redis_url)] == ["plain"]


def test_a_message_whose_row_is_gone_does_not_run(registry, redis_url):
    message = call(redis_url, write, "hello")
    with registry["engine"].begin() as connection:
        connection.execute(text("delete from task_record"))
    assert run(message)[1] == "IGNORED"
    assert texts(registry) == []


def test_a_message_does_not_run_while_another_copy_of_it_runs(registry, redis_url, task):
    entered, leave = threading.Event(), threading.Event()

    @task
    def waits(request):
        request.dbsession.add(Note(text="once"))
        entered.set()
        assert leave.wait(20)

    message = call(redis_url, waits)
    first = threading.Thread(target=run, args=(message,))
    first.start()
    assert entered.wait(20)
    assert run(dict(message))[1] == "IGNORED"
    leave.set()
    first.join()
    assert texts(registry) == ["once"]


@pytest.mark.parametrize("base", [TransactionalTask, RequestAwareTask])
def test_a_message_that_comes_while_its_call_is_marked_as_sent_runs(registry, redis_url, task, base):
    def works(request):
        return "done"

    message = call(redis_url, task(works, base=base))
    locked = registry["engine"].connect()
    locked.execute(text("select id from task_record for update"))
    timer = threading.Timer(0.2, locked.close)
    timer.start()
    assert run(message) == ("done", None)
    timer.join()


def test_a_message_from_elsewhere_is_claimed_all_the_same(registry, redis_url):
    celery_app.send_task("write", ("from afar",))
    (message,) = messages(redis_url)
    assert "ledger" not in message
    assert run(message) == ("from afar", None)
    assert run(message) == ("from afar", None)
    assert texts(registry) == ["from afar"]
    row = row_of(registry, message)
    assert (row.state, row.message, row.queue) == ("done", None, "celery")


def test_a_message_of_a_task_that_was_replaced_does_not_run(registry, redis_url, task):
    def passes_on(self, request, text):
        self.replace(write.s(text))

    message = call(redis_url, task(passes_on, bind=True), "replaced")
    assert run(message)[1] == "IGNORED"
    (replacement,) = messages(redis_url)
    assert (replacement["id"], replacement["task"]) == (message["id"], "write")
    assert run(message)[1] == "IGNORED"
    assert run(replacement) == ("replaced", None)
    assert texts(registry) == ["replaced"]


def test_a_task_that_is_replaced_by_a_chord_is_forgotten_until_its_body_is_called(registry, redis_url, task):
    def splits(self, request):
        self.replace(chord([add.s(1, 1), add.s(2, 2)], total.s()))

    message = call(redis_url, task(splits, bind=True))
    assert run(message)[1] == "IGNORED"
    assert message["id"] not in {row.id for row in records(registry)}
    for part in messages(redis_url):
        run(part)
    (body,) = messages(redis_url)
    assert (body["id"], body["task"]) == (message["id"], "total")
    assert run(body) == (6, None)
    assert {row.state for row in records(registry)} == {"done"}


def test_a_retry_keeps_its_count_in_the_row_and_older_messages_do_not_run(registry, redis_url, task):
    def tries(self, request):
        request.dbsession.add(Note(text=f"try {self.request.retries}"))
        if self.request.retries < 2:
            raise self.retry(countdown=0)

    tries = task(tries, bind=True, max_retries=5)
    first = call(redis_url, tries)
    assert run(first)[1] == "RETRY"
    (second,) = messages(redis_url)
    assert row_of(registry, first).retries == 1
    assert run(first)[1] == "IGNORED"
    assert run(second)[1] == "RETRY"
    (third,) = messages(redis_url)
    assert run(second)[1] == "IGNORED"
    assert run(third)[1] is None
    assert texts(registry) == ["try 2"]


def test_a_far_retry_waits_in_the_table(registry, redis_url, task):
    def later(self, request):
        self.retry(countdown=3600)

    message = call(redis_url, task(later, bind=True))
    assert run(message)[1] == "RETRY"
    assert messages(redis_url) == []
    row = row_of(registry, message)
    assert (row.state, row.retries) == ("pending", 1)


@pytest.mark.parametrize("base", [TransactionalTask, RequestAwareTask])
def test_a_retry_that_the_task_does_not_wait_for_runs_too(registry, redis_url, task, base):
    def goes_on(self, request):
        if self.request.retries < 1:
            self.retry(countdown=0, throw=False)
        return self.request.retries

    goes_on = task(goes_on, base=base, bind=True)
    message = call(redis_url, goes_on)
    assert run(message)[1] is None
    assert row_of(registry, message).state == "sent"
    (again,) = messages(redis_url)
    assert run(again) == (1, None)
    assert row_of(registry, message).state == "done"


def test_a_retry_that_cannot_be_written_leaves_the_task_as_it_was(registry, redis_url, task, monkeypatch, caplog):
    def broken(*args, **options):
        raise OperationalError("insert", {}, ValueError("gone"))

    def asks(self, request):
        self.retry(countdown=0)

    message = call(redis_url, task(asks, bind=True))
    monkeypatch.setattr(delivery, "send_in_place_of", broken)
    assert run(message)[1] == "RETRY"
    assert "could not be written" in caplog.text
    assert row_of(registry, message).state == "sent"


def test_a_task_that_wants_its_own_transactions_runs_until_it_has_ended(registry, redis_url, task):
    def works(request, fail):
        with request.tm:
            request.dbsession.add(Note(text="worked"))
        if fail and len(texts(registry)) < 2:
            raise SystemExit
        return 5

    works = task(works, base=RequestAwareTask)
    message = call(redis_url, works, True)
    with pytest.raises(SystemExit):
        run(message)
    assert row_of(registry, message).state == "sent"
    assert run(message) == (5, None)
    assert run(message) == (5, None)
    row = row_of(registry, message)
    assert (row.state, row.starts, row.result) == ("done", 2, "5")
    assert len(texts(registry)) == 2


def test_a_task_that_runs_long_keeps_its_lease_while_its_process_lives(registry, redis_url, task, monkeypatch, caplog):
    monkeypatch.setitem(vars(registry[KEY].policy), "resend_after", 0.3)
    real, troubles = delivery.inbox.renew, [OperationalError("update", {}, ValueError("gone"))]

    def renew(*args):
        if troubles:
            raise troubles.pop()
        real(*args)

    monkeypatch.setattr(delivery.inbox, "renew", renew)
    seen = []

    def runs_long(self, request):
        first = row_of(registry, {"id": self.request.id}).due_at
        wait_until(lambda: row_of(registry, {"id": self.request.id}).due_at > first, 10, "the lease to be renewed")
        seen.append(first)

    message = call(redis_url, task(runs_long, base=RequestAwareTask, bind=True))
    assert run(message)[1] is None
    assert seen
    assert "could not renew its lease" in caplog.text
    wait_until(lambda: "lease" not in {thread.name for thread in threading.enumerate()}, 10, "the lease to end")
    assert row_of(registry, message).state == "done"


@pytest.mark.parametrize("base", [TransactionalTask, RequestAwareTask])
def test_a_call_that_never_finishes_is_failed_after_so_many_starts(registry, redis_url, task, base):
    def dies(request):
        raise SystemExit

    message = call(redis_url, task(dies, base=base), link_error=plain.s())
    starts = 0
    while True:
        try:
            _, state = run(message, redelivered=True)
        except SystemExit:
            starts += 1
        else:
            break
    assert state == "FAILURE"
    assert starts <= 3
    row = row_of(registry, message)
    assert row.state == "failed"
    assert "TooManyStarts" in row.error
    assert [sent["task"] for sent in messages(redis_url)] == ["plain"]


def test_a_claim_that_meets_conflicts_is_tried_again(registry, redis_url, task, monkeypatch):
    def serial(request):
        request.dbsession.add(Note(text="serial"))

    message = call(redis_url, task(serial))
    real, met = delivery.inbox.claim, []

    def conflicts(ledger, connection, claim, **options):
        if len(met) < 5:
            met.append(claim)
            connection.exec_driver_sql("do $$ begin raise serialization_failure; end $$")
        return real(ledger, connection, claim, **options)

    monkeypatch.setattr(delivery.inbox, "claim", conflicts)
    assert run(message)[1] is None
    assert len(met) == 5
    assert texts(registry) == ["serial"]


def test_a_task_that_loses_its_database_is_sent_again(registry, redis_url, task, caplog):
    def loses(request):
        request.dbsession.execute(text("select pg_terminate_backend(pg_backend_pid())"))

    message = call(redis_url, task(loses))
    assert run(message)[1] == "IGNORED"
    assert "lost its database and is sent again" in caplog.text
    assert row_of(registry, message).state == "sent"


def test_a_task_that_loses_its_database_after_the_commit_is_done(registry, redis_url, task, monkeypatch):
    def worked(request):
        request.dbsession.add(Note(text="saved"))
        return "saved"

    message = call(redis_url, task(worked))
    worked = celery_app.tasks["test.worked"]
    real = TransactionalTask._execute

    def commits_and_loses(self, *args):
        real(self, *args)
        raise OperationalError("commit", {}, ValueError("gone"), connection_invalidated=True)

    monkeypatch.setattr(TransactionalTask, "_execute", commits_and_loses)
    assert run(message) == ("saved", None)
    assert texts(registry) == ["saved"]


def test_a_task_whose_database_stays_away_is_left_to_the_relay(registry, redis_url, monkeypatch, caplog):
    def gone(*args, **options):
        raise OperationalError("select", {}, ValueError("gone"), connection_invalidated=True)

    message = call(redis_url, write, "hello")
    for name in ("claim", "look", "let_go"):
        monkeypatch.setattr(delivery.inbox, name, gone)
    assert run(message)[1] == "IGNORED"
    assert "is sent again later" in caplog.text


def test_an_outcome_that_cannot_be_written_is_logged(registry, redis_url, task, monkeypatch, caplog):
    def gone(*args, **options):
        raise OperationalError("update", {}, ValueError("gone"))

    def one(request):
        return 1

    message = call(redis_url, task(one, base=RequestAwareTask))
    monkeypatch.setattr(delivery.inbox, "settle", gone)
    assert run(message) == (1, None)
    assert "could not be written; it is sent again" in caplog.text
