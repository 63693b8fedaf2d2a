"""G1: a task called in a transaction is sent if, and only if, that transaction commits.

Hypothesis plays with a real transaction manager, a real database and a real broker, and a list of numbers says what
should be left of it.
"""

import collections

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import text
from sqlalchemy.pool import QueuePool
from transaction.interfaces import DoomedTransaction

from pyramid_celery_tm import on_commit
from pyramid_celery_tm.deferral import calls_of
from pyramid_celery_tm.request import open_request
from tests.application import Note, add, configure, make_config, queued, texts

CALLS = {
    "delay": lambda number, request: add.delay(number),
    "with the request": lambda number, request: add.apply_async(args=(request, number)),
    "with the manager": lambda number, request: add.apply_async((number,), tm=request.tm),
    "chain": lambda number, request: (add.s(number) | add.s(1)).delay(),
    "link": lambda number, request: add.apply_async((number,), link=add.s(1)),
    "on_commit": lambda number, request: on_commit(lambda: add.delay(number)),
}


def model_of(registry, redis_client, redis_url, counts):  # noqa: C901 - one class, in need of four fixtures
    class Model(RuleBasedStateMachine):
        """Open savepoints are a stack; each knows how many calls had been made when it was opened."""

        def __init__(self):
            super().__init__()
            redis_client.flushdb()
            with registry["engine"].begin() as connection:
                connection.execute(Note.__table__.delete())
            self.context = open_request(registry)
            self.request = self.context.__enter__()
            self.next = 0
            self.calls, self.savepoints, self.expected = [], [], []
            self.begin()

        def teardown(self):
            self.request.tm.abort()
            self.context.__exit__(None, None, None)
            counts["calls"] += self.next
            counts["sent"] += len(self.expected)

        def begin(self):
            self.request.tm.begin()
            vars(self.request).pop("dbsession", None)
            # A session that joins after a savepoint of the transaction is closed when that is rolled back, and its own
            # savepoints with it.
            self.request.dbsession.execute(text("select 1"))
            self.calls, self.savepoints = [], []

        @rule(how=st.sampled_from(sorted(CALLS)), flush=st.booleans())
        def call(self, how, flush):
            self.request.dbsession.add(Note(text=str(self.next)))
            if flush:
                self.request.dbsession.flush()
            CALLS[how](self.next, self.request)
            self.calls.append(self.next)
            self.next += 1

        @rule()
        def open_savepoint_of_the_transaction(self):
            savepoint = self.request.tm.savepoint()
            self.savepoints.append(("transaction", savepoint, len(self.calls)))

        @rule()
        def open_savepoint_of_the_session(self):
            self.savepoints.append(("session", self.request.dbsession.begin_nested(), len(self.calls)))

        @precondition(lambda self: self.savepoints)
        @rule(data=st.data())
        def roll_a_savepoint_back(self, data):
            position = data.draw(st.integers(0, len(self.savepoints) - 1))
            kind, savepoint, made = self.savepoints[position]
            savepoint.rollback()
            del self.savepoints[position:], self.calls[made:]
            counts[f"{kind} savepoints rolled back"] += 1

        @precondition(lambda self: self.savepoints and self.savepoints[-1][0] == "session")
        @rule()
        def release_a_savepoint_of_the_session(self):
            self.savepoints.pop()[1].commit()
            counts["session savepoints released"] += 1

        @rule(how=st.sampled_from(["commit", "commit", "commit", "abort", "doom"]))
        def end(self, how):
            if how == "commit":
                self.request.tm.commit()
                self.expected += self.calls
            elif how == "abort":
                self.request.tm.abort()
            else:
                self.request.tm.doom()
                add.delay("never")
                with pytest.raises(DoomedTransaction):
                    self.request.tm.commit()
                self.request.tm.abort()
            counts[how] += 1
            self.begin()

        @invariant()
        def the_broker_has_what_was_committed(self):
            assert [message["args"][0] for message in queued(redis_url)] == self.expected

        @invariant()
        def the_database_has_the_same(self):
            assert sorted(map(int, texts(registry))) == sorted(self.expected)

        @invariant()
        def the_transaction_holds_what_would_be_sent(self):
            assert len(calls_of(self.request.tm).waiting()) == len(self.calls)

    return Model


def test_what_reaches_the_broker_is_what_was_committed(postgresql_url, redis_url, redis_client):
    registry = configure(make_config(postgresql_url, pool=QueuePool), redis_url)
    counts = collections.Counter()
    run_state_machine_as_test(
        model_of(registry, redis_client, redis_url, counts),
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    registry["engine"].dispose()
    print(dict(counts))
    assert counts["sent"] > 0
    assert counts["sent"] < counts["calls"]
