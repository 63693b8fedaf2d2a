"""What ws-celery ledger and ws-celery relay say and do, run in this process on a real database and broker."""

import json
import logging
import os
import signal
import threading
from dataclasses import replace
from types import SimpleNamespace

import click
import pytest
from celery import chord
from click.testing import CliRunner
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.exceptions import NotConfigured
from pyramid_celery_tm.ledger import KEY, State, backlog, outbox, utcnow
from pyramid_celery_tm.request import open_request
from pyramid_celery_tm.scripts import ledger as command
from pyramid_celery_tm.scripts.argv import normalise
from pyramid_celery_tm.scripts.relay import relay
from pyramid_celery_tm.scripts.running import commands
from tests.application import QUEUES, TaskRecord, add, configure, make_config, queued, records, texts, worker
from tests.functional.apps.accidents import fragile
from tests.functional.apps.notes import committed
from tests.services import free_port, wait_until

#: Small times, for this process and for the workers.
TIMES = {
    "tasks.unsent_after": "0.2",
    "tasks.resend_after": "1",
    "tasks.relay_interval": "0.2",
    "tasks.max_starts": "3",
}


@pytest.fixture
def registry(postgresql_url, redis_url):
    return configure(make_config(postgresql_url, ledger=True, **TIMES), redis_url)


@pytest.fixture
def kept(registry):
    return registry[KEY]


@pytest.fixture
def ledger():
    """Run ``ledger`` in this process; the standard output, or all of it with ``fails``."""

    def run(*words, fails=False):
        ended = CliRunner().invoke(command.ledger, words, obj=SimpleNamespace(app=celery_app))
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        assert bool(ended.exit_code) == fails, ended.output
        return ended.output if fails else ended.stdout

    return run


@pytest.fixture
def run_relay():
    """Run ``relay`` in this process, whose logging stays as it is."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield lambda *words: CliRunner().invoke(relay, words, obj=SimpleNamespace(app=celery_app))
    root.setLevel(level)
    root.handlers[:] = handlers


def call(registry, task, *args):
    """Call a task in a transaction; returns its id."""
    with open_request(registry) as request, request.tm:
        return task.delay(*args).id


def state(registry, call_id):
    return next((record.state for record in records(registry) if record.id == call_id), None)


def wait_for_state(registry, call_id, wanted, seconds=60):
    wait_until(lambda: state(registry, call_id) == wanted, seconds, f"{call_id} to be {wanted}")


def write(kept, call_id, state="failed", **values):
    row = {"id": call_id, "name": "add", "state": state, "finished_at": utcnow(), **values}
    with kept.begin() as connection:
        outbox.add(kept, connection, [row])


def wait_until_due(registry):
    wait_until(lambda: all(record.due_at <= utcnow() for record in records(registry)), 20, "the calls to be due")


def test_a_chord_that_waits_takes_what_a_call_returns_that_was_sent_again(registry, ledger, run_relay, tmp_path):
    remedy = tmp_path / "remedy"
    with open_request(registry) as request, request.tm:
        header = chord([fragile.s(str(remedy)), add.s(3).set(queue="heavy")])(committed.s()).parent
    with worker(queues=["celery"]):
        wait_for_state(registry, header[0].id, "failed")
    remedy.touch()
    ledger("resend", header[0].id)
    with worker(queues=list(QUEUES)):
        wait_for_state(registry, header[1].id, "done")
        assert "Calls sent: " in run_relay("--once").output
        wait_until(lambda: len(texts(registry)) > 1, 30, "the body of the chord")
    assert texts(registry) == ["fragile", "committed [2, 3]"]


def test_a_relay_sends_once_in_this_process(registry, run_relay, redis_url, redis_client):
    call_id = call(registry, add, 1)
    redis_client.flushdb()
    wait_until_due(registry)
    assert run_relay("--once").output == "Calls sent: 1\n"
    assert [message["id"] for message in queued(redis_url)] == [call_id]


def test_a_relay_runs_in_this_process_until_a_signal_and_puts_the_handlers_back(registry, run_relay, redis_url):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    call_id = call(registry, add, 1)

    def stop():
        try:
            wait_until(lambda: len(queued(redis_url)) > 1, 20, "the relay to send it again")
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    ended = run_relay()
    thread.join()
    assert ended.exit_code == 0, ended.output
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert {message["id"] for message in queued(redis_url)} == {call_id}


def test_both_are_told_in_this_process_too(registry, ledger, redis_url):
    TaskRecord.__table__.drop(registry["engine"])
    with pytest.raises(NotConfigured, match=r"the table task_record is not in the database"):
        ledger("status")
    configure(make_config(), redis_url)
    with pytest.raises(NotConfigured, match=r"config\.configure_ledger\(model, engine\)"):
        ledger("status")


def test_a_database_that_does_not_answer_is_one_line(registry, ledger):
    url = registry["engine"].url.set(host="127.0.0.1", port=free_port(), query={})
    registry[KEY] = replace(registry[KEY], engine=create_engine(url, poolclass=NullPool))
    (line,) = ledger("status", fails=True).splitlines()
    assert line.startswith("Error: the database does not answer: ")


@pytest.mark.parametrize(
    "line", ["--ini f ledger status -j", "ledger --ini f status -j", "ledger status --ini=f -j", "ledger status -j -if"]
)
def test_the_file_may_stand_anywhere(line):
    sorted_ = normalise(line.split(), commands())
    assert (sorted_.command, sorted_.ini, sorted_.after) == ("ledger", "f", ["ledger", "status", "-j"])


def test_the_status_of_an_empty_ledger_is_a_table_of_zeros(ledger, kept):
    lines = ledger("status").splitlines()
    assert lines[0] == "state     calls"
    assert lines[1:-1] == [f"{state.value:<8}      0" for state in State]
    assert lines[-1] == "No call is open."


def test_the_status_tells_the_oldest_open_call_and_its_age(ledger, registry):
    call_id = call(registry, add, 1)
    lines = ledger("status").splitlines()
    assert "sent          1" in lines
    assert lines[-1].startswith(f"Oldest open: add[{call_id}], sent, since 20")
    assert lines[-1].endswith(" s ago.")
    told = json.loads(ledger("status", "-j"))
    assert told["counts"]["sent"] == 1
    assert told["oldest_open"]["id"] == call_id
    assert 0 <= told["oldest_open"]["age"] < 60


def test_the_status_as_json_tells_that_nothing_is_open(ledger, kept):
    assert json.loads(ledger("status", "--json"))["oldest_open"] is None


def test_failed_calls_are_a_table_whose_errors_are_cut(ledger, kept):
    when = utcnow()
    write(kept, "long", error="ValueError: " + "x" * 90 + "\nmore", starts=3, finished_at=when)
    write(kept, "short", name="other", error="KeyError: 'a'")
    assert ledger("failed", "--name", "add").splitlines() == [
        f"id    name  {'failed (UTC)':<19}  starts  error",
        f"long  add   {when:%Y-%m-%d %H:%M:%S}       3  ValueError: {'x' * 65}...",
        command.HINT,
    ]
    assert [row["id"] for row in json.loads(ledger("failed", "-j"))] == ["short", "long"]
    assert len(json.loads(ledger("failed", "-j", "-n", "1"))) == 1
    assert ledger("failed", "--name", "nobody") == "id  name  failed (UTC)  starts  error\n"


def test_open_calls_are_a_table(ledger, kept):
    write(kept, "1", "pending", finished_at=None)
    heading, line = ledger("open").splitlines()
    assert heading.split() == ["id", "name", "called", "(UTC)", "starts", "sends", "state", "not", "before"]
    assert line.split()[4:] == ["0", "0", "pending", "-"]
    assert [row["id"] for row in json.loads(ledger("open", "-j"))] == ["1"]


def test_a_call_is_shown_with_its_arguments(ledger, registry):
    call_id = call(registry, add, 1, 2)
    lines = ledger("show", call_id).splitlines()
    assert f"id:          {call_id}" in lines
    assert "arguments:   args=(1, 2) kwargs={}" in lines
    assert "error:       -" in lines
    told = json.loads(ledger("show", "-j", call_id))
    assert told["arguments"] == "args=(1, 2) kwargs={}"
    assert json.loads(told["message"])["headers"]["id"] == call_id
    assert ledger("show", "nobody", fails=True) == "Error: nobody: the ledger has no such call\n"


@pytest.mark.parametrize("message", [None, '["1", "2"]', '{"schedule": 1}'], ids=["foreign", "chord", "schedule"])
def test_a_row_that_is_no_call_of_ours_has_no_arguments(ledger, kept, message):
    write(kept, "1", message=message)
    assert "arguments:   -" in ledger("show", "1").splitlines()


def test_calls_are_sent_again_by_id_and_the_others_are_named(ledger, kept):
    write(kept, "1", message="{}")
    write(kept, "2", "revoked", message="{}")
    write(kept, "3", "done")
    assert ledger("resend", "1", "2", "1") == "Calls that wait for a relay to send them: 2\n"
    assert ledger("resend", "3", "4", fails=True).splitlines() == [
        "Calls that wait for a relay to send them: 0",
        "3: it is done; only what failed or was revoked can be sent again",
        "4: the ledger has no such call",
    ]


def test_all_failed_calls_are_sent_again_and_those_that_cannot_be_are_named(ledger, kept, capsys):
    write(kept, "1", message="{}")
    write(kept, "2", message="{}", name="other")
    write(kept, "3")
    assert ledger("resend", "--all-failed", "--name", "other") == "Calls that wait for a relay to send them: 1\n"
    ended = CliRunner().invoke(command.ledger, ["resend", "--all-failed"], obj=SimpleNamespace(app=celery_app))
    assert (ended.exit_code, ended.stdout) == (0, "Calls that wait for a relay to send them: 1\n")
    assert ended.stderr == "3: the ledger does not have its message, which came from elsewhere\n"


@pytest.mark.parametrize("words", ["", "1 --all-failed", "1 --name add", "--name add"])
def test_ids_or_all_failed_are_wanted_and_not_both(ledger, kept, words):
    assert "name the ids of calls; or --all-failed" in ledger("resend", *words.split(), fails=True)


def test_finished_calls_are_deleted_by_age_in_bites(ledger, kept):
    now = utcnow()
    row = {"name": "add", "state": "done", "finished_at": now}
    with kept.begin() as connection:
        outbox.add(kept, connection, [{**row, "id": str(number)} for number in range(backlog.BITE + 1)])
    write(kept, "failed")
    write(kept, "open", "pending", finished_at=None)
    assert ledger("purge") == "Calls deleted: 0\n"
    assert ledger("purge", "--older-than", "1000") == "Calls deleted: 0\n"
    assert ledger("purge", "--older-than", "0") == f"Calls deleted: {backlog.BITE + 2}\n"
    assert json.loads(ledger("status", "-j"))["counts"]["pending"] == 1


def test_a_purge_revokes_the_calls_whose_messages_it_drops(registry, redis_url):
    add.delay(1)
    add.apply_async((2,), queue="heavy")
    purge = commands().commands["purge"]
    context = SimpleNamespace(app=celery_app, echo=click.echo, style=lambda text, **_: text, no_color=True)
    ended = CliRunner().invoke(purge, ["-f", "-Q", "celery"], obj=context, catch_exceptions=False)
    assert "Revoked 1 calls in the ledger." in ended.output
    assert sorted(row.state for row in records(registry)) == ["revoked", "sent"]
    assert [message["args"] for message in queued(redis_url)] == [[2]]
