"""ws-celery as it is typed, with a real broker and real processes."""

import json
import signal

import pytest

from tests.functional.project import LOGGING, Project
from tests.services import wait_until

BEAT = """
[celerybeat:good]
task = tests.add
type = integer
schedule = 1
args = [1, 2]

[celerybeat:slip]
task = tests.ad
type = integer
schedule = 60
"""


@pytest.fixture
def project(tmp_path, redis_url):
    return Project(tmp_path, redis_url)


def one_line(ended):
    """The only line that a command printed before it failed."""
    assert ended.returncode != 0
    lines = (ended.stdout + ended.stderr).splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    "line",
    [
        "worker -A pyramid_celery_tm.celery_app --ini test.ini --loglevel=info -P solo",
        "--ini test.ini -P solo -l info worker",
        "test.ini -- worker -P solo -l info",
    ],
)
def test_a_worker_takes_the_documents_command_line_and_runs_a_task_in_the_application(project, line):
    project.write(rest="")
    with project.running(*line.split()) as worker:
        worker.wait_for("ready.")
        project.send("tests.setting", "greeting")
        worker.wait_for("setting greeting is hello")


def test_celerys_own_command_line_works_too(project):
    project.write()
    line = "-A pyramid_celery_tm.celery_app worker --ini test.ini -P solo -l info"
    with project.running(*line.split(), command="celery") as worker:
        worker.wait_for("ready.")
        project.send("tests.setting", "greeting")
        worker.wait_for("setting greeting is hello")


@pytest.mark.parametrize("line", [("ws_celery", ""), ("celery", "-A pyramid_celery_tm.celery_app ")])
def test_the_configuration_is_there_before_celery_reads_its_options(project, line):
    command, start = line
    project.write(celery="worker_pool = threads\nworker_prefetch_multiplier = 7")
    with project.running(*f"{start}worker --ini test.ini -l info".split(), command=command) as worker:
        worker.wait_for("ready.")
        stats = project.run("inspect", "stats", "--json", "--ini", "test.ini")
    ((_, stats),) = json.loads(stats.stdout).items()
    assert (stats["pool"]["implementation"], stats["prefetch_count"]) == ("celery.concurrency.thread:TaskPool", 7)


@pytest.mark.parametrize("main", ["plain", "middleware"])
def test_an_application_that_does_not_configure_celery_or_hides_in_a_middleware_is_found(project, main):
    project.write(main=main)
    with project.worker() as worker:
        project.send("tests.setting", "greeting")
        worker.wait_for("setting greeting is hello")


def test_variables_reach_the_application_and_celery_though_main_knows_nothing_of_them(project):
    default = "[DEFAULT]\nqueue = celery\n"
    project.write(app="how = %(mode)s", celery="task_default_queue = %(queue)s", rest=default + LOGGING)
    with project.worker("--ini-var", "mode=a=b", "--ini-var", "queue=other") as worker:
        worker.wait_for(".> other")
        project.send("tests.setting", "how", queue="other")
        worker.wait_for("setting how is a=b")


@pytest.mark.parametrize("pool", ["prefork", "solo"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_is_asked_to_stop_finishes_its_task_and_exits_with_0(project, number, pool):
    project.write()
    trace = project.folder / "trace"
    with project.running("worker", "--ini", "test.ini", "-P", pool, "-l", "info") as worker:
        worker.wait_for("ready.")
        project.send("tests.touch_after", 2, str(trace))
        wait_until((project.folder / "trace.started").exists, 20, "the task to start")
        assert worker.end(number) == 0
    assert trace.exists()


def test_a_second_ctrl_c_ends_the_task_too(project):
    project.write()
    trace = project.folder / "trace"
    with project.running("worker", "--ini", "test.ini", "-l", "info") as worker:
        worker.wait_for("ready.")
        project.send("tests.touch_after", 60, str(trace))
        wait_until((project.folder / "trace.started").exists, 20, "the task to start")
        worker.popen.send_signal(signal.SIGINT)
        worker.wait_for("Warm shutdown")
        worker.end(signal.SIGINT)
    assert not trace.exists()


@pytest.mark.parametrize("command", ["worker", "beat", "purge", "inspect", "status", "queues", "shell"])
def test_a_missing_ini_is_one_line_that_names_the_option(project, command):
    assert "--ini is missing" in one_line(project.run(command))


def test_a_file_that_is_not_there_is_one_line_with_its_path(project):
    assert str(project.folder / "nowhere.ini") in one_line(project.run("worker", "--ini", "nowhere.ini"))


def test_a_file_without_a_celery_section_is_one_line_that_names_both(project):
    (project.folder / "web.ini").write_text("[app:main]\nuse = call:tests.functional.apps.commands:plain\n")
    line = one_line(project.run("worker", "--ini", "web.ini"))
    assert "web.ini" in line
    assert "[celery]" in line


def test_faults_in_the_file_are_a_line_each(project):
    project.write(celery="worker_concurency = 2\ntask_acks_late = perhaps")
    ended = project.run("worker", "--ini", "test.ini")
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert "worker_concurrency" in ended.stderr
    assert "perhaps" in ended.stderr
    assert [line.split("[celery]")[0] for line in ended.stderr.splitlines()] == [
        f"ws-celery: {project.folder}/test.ini: "
    ] * 2


def test_an_exception_of_the_application_keeps_its_traceback(project):
    project.write(main="broken")
    for ended in (
        project.run("worker", "--ini", "test.ini"),
        project.celery("-A", "pyramid_celery_tm.celery_app", "worker", "--ini", "test.ini"),
    ):
        assert ended.returncode != 0
        assert 'raise ZeroDivisionError("the application\'s own fault")' in ended.stderr


def test_celerys_own_command_line_reports_a_fault_in_one_line(project):
    ended = project.celery("-A", "pyramid_celery_tm.celery_app", "worker")
    assert "--ini is missing" in one_line(ended)


@pytest.mark.parametrize(
    "words", ["--help", "--version", "worker --help", "upgrade settings --help", "multi names 2 -p %n.pid -f %n.log"]
)
def test_what_needs_no_application_needs_no_file(project, words):
    ended = project.run(*words.split())
    assert ended.returncode == 0, ended.stderr


def test_a_broker_that_does_not_answer_is_one_line(project):
    project.broker = "redis://127.0.0.1:1/0"
    project.write(rest="")
    assert "the broker does not answer" in one_line(project.run("queues", "--ini", "test.ini"))


@pytest.mark.parametrize(
    ("level", "seen", "unseen"), [("debug", "a debug message", "nothing"), ("error", "an error of", "a warning of")]
)
def test_the_loglevel_wins_over_the_files_logging(project, level, seen, unseen):
    project.write()
    with project.running("worker", "--ini", "test.ini", "-P", "solo", f"--loglevel={level}") as worker:
        worker.wait_for("celery@")
        project.send("tests.speak")
        worker.wait_for(seen)
        assert unseen not in worker.output()


def test_the_files_logging_holds_without_a_loglevel(project):
    project.write(rest=LOGGING.replace("level = WARNING", "level = INFO"))
    with project.running("worker", "--ini", "test.ini", "-P", "solo") as worker:
        worker.wait_for("INI INFO celery.apps.worker")
        project.send("tests.speak")
        worker.wait_for("INI ERROR tests.functional.apps.commands an error of the task")
        assert "a debug message" not in worker.output()


def test_workers_of_multi_and_detached_ones_get_the_file_and_the_variables(project):
    project.write(app="how = %(mode)s")
    files = ["--pidfile=%n.pid", "--logfile=%n.log"]
    common = ["--ini", "test.ini", "--ini-var", "mode=many words", "-l", "info"]
    started = project.run("multi", "start", "one", *common, *files, "-P", "solo")
    assert started.returncode == 0, started.stdout + started.stderr
    detached = project.run("worker", "-n", "two", "-D", *common, "--pidfile=two.pid", "--logfile=two.log", "-P", "solo")
    assert detached.returncode == 0, detached.stderr
    try:
        for name in ("one", "two"):
            log = project.folder / f"{name}.log"
            wait_until(lambda log=log: log.exists() and "ready." in log.read_text(), 30, f"{name} to be ready")
    finally:
        stopped = project.run("multi", "stopwait", "one", "two", *files)
    assert stopped.returncode == 0, stopped.stdout
    assert not list(project.folder.glob("*.pid"))


def test_beat_sends_its_tasks_warns_of_unknown_ones_and_touches_no_database(project):
    project.write(app="sqlalchemy.url = sqlite:///%(here)s/db.sqlite", rest=BEAT + LOGGING)
    line = "beat -A pyramid_celery_tm.celery_app --ini test.ini --loglevel=info"
    with project.running(*line.split()) as beat, project.redis() as broker:
        wait_until(lambda: broker.llen("celery") >= 2, 30, "two ticks")
        assert (
            "[celerybeat:slip] task = tests.ad: no task of that name is registered; perhaps tests.add" in beat.output()
        )
        assert "a database connection was opened" not in beat.output()
        assert beat.end(signal.SIGINT) == 0
    assert not (project.folder / "celerybeat.pid").exists()


def test_a_second_beat_in_the_same_place_does_not_start_unless_told_to(project):
    project.write(rest=BEAT + LOGGING)
    with project.running("beat", "--ini", "test.ini", "-l", "info") as first:
        first.wait_for("beat: Starting")
        second = project.run("beat", "--ini", "test.ini")
        assert second.returncode != 0
        assert "already running" in second.stdout + second.stderr
        with project.running("beat", "--ini", "test.ini", "--pidfile=", "-s", "other", "-l", "info") as third:
            third.wait_for("beat: Starting")


def test_a_worker_may_have_beat_inside(project):
    project.write(rest=BEAT + LOGGING)
    with project.running("worker", "-B", "--ini", "test.ini", "-l", "info") as worker:
        worker.wait_for("Task tests.add")
        worker.wait_for("[celerybeat:slip] task = tests.ad")
        assert worker.end() == 0


def test_the_working_directory_is_changed_before_the_file_is_looked_for(project):
    elsewhere = project.folder / "elsewhere"
    elsewhere.mkdir()
    project.write("elsewhere/test.ini")
    ended = project.run("report", "--workdir", "elsewhere", "--ini", "test.ini")
    assert ended.returncode == 0, ended.stderr
    assert "broker_url" in ended.stdout


@pytest.mark.parametrize(
    "words",
    ["report", "list bindings", "events --help", "inspect --list", "graph bootsteps", "amqp --help"],
)
def test_every_other_subcommand_takes_the_file(project, words):
    project.write()
    ended = project.run(*words.split(), "--ini", "test.ini")
    assert ended.returncode == 0, ended.stderr


def test_a_running_worker_is_controlled_and_seen(project):
    project.write()
    with project.worker() as worker:
        assert "pong" in project.run("inspect", "ping", "--ini", "test.ini").stdout
        assert "1 node online" in project.run("status", "-i", "test.ini").stdout
        id_ = project.run("call", "tests.add", "--args", "[1, 2]", "--ini", "test.ini").stdout.strip()
        wait_until(lambda: f"{id_}] succeeded" in worker.output(), 20, "the task to end")
        assert project.run("result", id_, "--ini", "test.ini").stdout.strip() == "3"
        project.run("control", "shutdown", "--ini=test.ini")
        assert worker.popen.wait(20) == 0


def test_green_threads_are_there_before_anything_else(project):
    pytest.importorskip("gevent")
    project.write()
    with project.running("worker", "-P", "gevent", "--ini", "test.ini", "-l", "info") as worker:
        worker.wait_for("ready.")
        project.send("tests.setting", "greeting")
        worker.wait_for("setting greeting is hello")
        assert "MonkeyPatchWarning" not in worker.output()
