import logging

import pytest
import transaction

from pyramid_celery_tm.deferral import Held, calls_of, open_transaction


@pytest.fixture
def tm():
    return transaction.TransactionManager(explicit=True)


@pytest.fixture
def sent():
    return []


@pytest.fixture
def send(sent):
    def send(items, release):
        sent.append(list(items))

    return send


def test_calls_leave_at_commit_in_the_order_of_the_calls(tm, send, sent):
    tm.begin()
    for item in "abc":
        calls_of(tm).add(send, item)
    assert sent == []
    tm.commit()
    assert sent == [["a", "b", "c"]]


def test_nothing_leaves_on_abort(tm, send, sent):
    tm.begin()
    call = calls_of(tm).add(send, "a")
    tm.abort()
    assert sent == []
    assert call.state is Held.DROPPED


def test_nothing_leaves_from_a_doomed_transaction(tm, send, sent):
    tm.begin()
    tm.doom()
    calls_of(tm).add(send, "a")
    with pytest.raises(transaction.interfaces.DoomedTransaction):
        tm.commit()
    tm.abort()
    assert sent == []


class Resource:
    """A resource manager that does as it is told."""

    def __init__(self, tm, **actions):
        self.transaction_manager = tm
        self.actions = actions
        tm.get().join(self)

    def __getattr__(self, name):
        return self.actions.get(name, lambda *args: None)

    def sortKey(self):
        return "resource"


def refuse(*args):
    raise RuntimeError("no")


@pytest.mark.parametrize("step", ["tpc_begin", "commit", "tpc_vote", "tpc_finish"])
def test_nothing_leaves_when_the_commit_fails(tm, send, sent, step):
    tm.begin()
    call = calls_of(tm).add(send, "a")
    Resource(tm, **{step: refuse})
    with pytest.raises(RuntimeError, match="no"):
        tm.commit()
    tm.abort()
    assert sent == []
    assert call.state is Held.DROPPED


def test_a_rolled_back_savepoint_takes_its_calls_along(tm, send, sent):
    tm.begin()
    calls_of(tm).add(send, "before")
    savepoint = tm.savepoint()
    calls_of(tm).add(send, "inside")
    savepoint.rollback()
    calls_of(tm).add(send, "after")
    tm.commit()
    assert sent == [["before", "after"]]


def test_a_savepoint_can_be_rolled_back_twice(tm, send, sent):
    tm.begin()
    calls_of(tm).add(send, "before")
    savepoint = tm.savepoint()
    calls_of(tm).add(send, "first")
    savepoint.rollback()
    calls_of(tm).add(send, "second")
    savepoint.rollback()
    tm.commit()
    assert sent == [["before"]]


def test_an_inner_savepoint_goes_with_the_outer_one(tm, send, sent):
    tm.begin()
    calls_of(tm).add(send, "a")
    outer = tm.savepoint()
    calls_of(tm).add(send, "b")
    tm.savepoint()
    calls_of(tm).add(send, "c")
    outer.rollback()
    tm.commit()
    assert sent == [["a"]]


def test_a_savepoint_older_than_the_first_call_takes_it_along_and_later_calls_still_leave(tm, send, sent):
    tm.begin()
    savepoint = tm.savepoint()
    calls_of(tm).add(send, "inside")
    savepoint.rollback()
    calls_of(tm).add(send, "after")
    second = tm.savepoint()
    calls_of(tm).add(send, "inside the second")
    second.rollback()
    tm.commit()
    assert sent == [["after"]]


def test_a_call_made_while_the_transaction_commits_leaves_with_it(tm, send, sent):
    tm.begin()
    Resource(tm, tpc_begin=lambda transaction: calls_of(tm).add(send, "late"))
    tm.commit()
    assert sent == [["late"]]


def test_a_call_made_by_what_goes_out_takes_its_place_in_the_order(tm, send, sent):
    def call(items, release):
        for item in items:
            calls_of(tm).add(send, item)

    tm.begin()
    for sender, item in [(send, 1), (call, 2), (call, 3), (send, 4), (call, 5)]:
        calls_of(tm).add(sender, item)
    tm.commit()
    assert sent == [[1], [2, 3, 4], [5]]


def test_consecutive_calls_with_the_same_sender_go_out_together(tm, sent):
    def one(items, release):
        sent.append(("one", list(items)))

    def other(items, release):
        sent.append(("other", list(items)))

    tm.begin()
    for send, item in [(one, 1), (one, 2), (other, 3), (one, 4)]:
        calls_of(tm).add(send, item)
    tm.commit()
    assert sent == [("one", [1, 2]), ("other", [3]), ("one", [4])]


def test_a_sender_that_fails_is_logged_and_does_not_stop_the_others(tm, send, sent, caplog):
    tm.begin()
    calls_of(tm).add(refuse, 1)
    calls_of(tm).add(send, 2)
    with caplog.at_level(logging.ERROR):
        tm.commit()
    assert sent == [[2]]
    assert "after the commit, 1 calls could not be handed on" in caplog.text


def test_after_the_hooks_nothing_is_held_any_more(tm, send):
    held = []
    tm.begin()
    calls_of(tm).add(send, 1)
    tm.get().addAfterCommitHook(lambda committed: held.append(calls_of(tm)))
    tm.commit()
    assert held == [None]


def test_errors_are_raised_from_commit_when_every_hook_has_run(tm):
    hooks = []

    def fail(items, release):
        release.errors.append(ValueError(*items))

    tm.begin()
    calls = calls_of(tm)
    calls.raise_errors_from_commit()
    calls.raise_errors_from_commit()
    calls.add(fail, "boom")
    tm.get().addAfterCommitHook(lambda committed: hooks.append(committed))
    with pytest.raises(ValueError, match="boom"):
        tm.commit()
    assert hooks == [True]
    tm.begin()  # the manager is free for the next transaction
    tm.abort()


def test_a_call_after_the_commit_failed_does_not_wait_for_it(tm, send):
    tm.begin()
    told = []
    tm.get().addAfterCommitHook(lambda committed: told.append((committed, calls_of(tm))))
    Resource(tm, commit=refuse)
    with pytest.raises(RuntimeError):
        tm.commit()
    assert told == [(False, None)]
    assert calls_of(tm) is None
    tm.abort()


def test_a_call_in_an_after_abort_hook_does_not_wait_for_a_commit_that_never_comes(tm, send):
    tm.begin()
    calls_of(tm).add(send, 1)
    seen = []
    tm.get().addAfterAbortHook(lambda: seen.append(calls_of(tm)))
    tm.abort()
    assert seen == [None]


def test_a_savepoint_that_was_rolled_back_is_not_the_end(tm, send, sent):
    tm.begin()
    for item in "ab":
        savepoint = tm.savepoint()
        calls_of(tm).add(send, item)
        savepoint.rollback()
        assert calls_of(tm) is not None
    calls_of(tm).add(send, "c")
    tm.commit()
    assert sent == [["c"]]


def test_waiting_lists_what_would_leave(tm, send):
    tm.begin()
    kept = calls_of(tm).add(send, 1)
    savepoint = tm.savepoint()
    calls_of(tm).add(send, 2)
    savepoint.rollback()
    assert calls_of(tm).waiting() == [kept]
    tm.abort()


@pytest.mark.parametrize("explicit", [True, False])
def test_asking_for_a_transaction_begins_none(explicit):
    tm = transaction.TransactionManager(explicit=explicit)
    assert open_transaction(tm) is None
    begun = tm.begin()
    assert open_transaction(tm) is begun
    tm.abort()
    assert open_transaction(tm) is None


def test_the_transaction_of_a_thread_is_found_without_beginning_one():
    tm = transaction.ThreadTransactionManager()
    assert open_transaction(tm) is None
    begun = tm.begin()
    assert open_transaction(tm) is begun
    tm.abort()


def test_without_a_manager_there_is_no_transaction():
    assert open_transaction(None) is None
    assert calls_of(None) is None
