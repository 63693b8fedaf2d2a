"""ws-shell as it is typed: with a script piped in, and at a terminal."""

import os
import pty
import sys

import pytest

from tests.functional.project import ROOT, Project
from tests.services import wait_until

DATABASE = "sqlalchemy.url = sqlite:///%(here)s/db.sqlite\ncreate = true"

# The documents' lines, as they stand there; the unguarded one too.
DOCUMENTS = """
from celery.task.control import inspect
i = inspect()
print(len(list(i.scheduled().values())[0]) if i.scheduled() else 0)
print(len(list(i.scheduled().values())[0]))

for celery, data in i.scheduled().items():
    print("Instance {}".format(celery))
    for task in data:
        print(task)
    print("Queued: {}".format(i.scheduled()))
print("Active: {}".format(i.active()))

# what the seed meant by "queued in the default celery queue"
from pyramid_celery_tm import queue_length
print(queue_length("celery"))
"""


@pytest.fixture
def project(tmp_path, redis_url):
    return Project(tmp_path, redis_url)


def shell(project, script):
    """Pipe a script into the shell of the project."""
    return project.run("test.ini", command="ws_shell", stdin=script)


def test_a_piped_script_has_the_names_that_the_shell_lists(project):
    project.write(app=DATABASE)
    script = """
names = [request.registry is registry, settings is registry.settings, tm is request.tm, dbsession is request.dbsession]
assert all(names), names
assert redis.ping() and inspect() and celery_app.conf.PYRAMID_REGISTRY is registry
assert now().utcoffset().total_seconds() == 0
print(Machine.__tablename__, queue_length("celery"), settings["greeting"], __name__)
"""
    ended = shell(project, script)
    assert (ended.returncode, ended.stdout) == (0, "machine 0 hello __main__\n"), ended.stderr
    for name in (
        "request",
        "dbsession",
        "transaction",
        "redis",
        "celery_app",
        "inspect",
        "queue_length",
        "now",
        "Machine",
    ):
        assert f"\n  {name} " in ended.stderr


def test_what_is_committed_stays_and_the_rest_is_gone(project):
    project.write(app=DATABASE)
    script = """
dbsession.add(Machine(name="kept"))
transaction.commit()
with transaction.manager:
    dbsession.add(Machine(name="kept, too"))
import transaction
dbsession.add(Machine(name="lost"))
dbsession.flush()
"""
    assert shell(project, script).returncode == 0
    assert shell(project, "print([m.name for m in dbsession.query(Machine)])").stdout == "['kept', 'kept, too']\n"


def test_a_task_called_in_a_script_leaves_with_its_commit(project):
    project.write(app=DATABASE)
    call = "from tests.functional.apps.commands import setting\ndbsession.query(Machine).all()\nsetting.delay('x')\n"
    shell(project, call)
    with project.redis() as broker:
        assert broker.llen("celery") == 0
        shell(project, f"{call}transaction.commit()\n")
        assert broker.llen("celery") == 1


def test_an_application_without_database_and_redis_has_a_shell_without_those_names(project):
    path = project.folder / project.write(main="plain")
    path.write_text(path.read_text().replace("redis.url", "another"))
    ended = shell(project, "print('dbsession' in globals(), 'redis' in globals())")
    assert ended.stdout == "False False\n", ended.stderr


def test_the_section_pshell_adds_names_and_its_setup_is_called(project):
    pshell = "[pshell]\nsetup = tests.functional.apps.commands.pshell\njson = json\ndefault_shell = python\n"
    project.write(rest=pshell)
    ended = shell(project, "print(json.dumps(answer))")
    assert ended.stdout == "42\nclosed\n", ended.stderr


@pytest.mark.parametrize(
    ("script", "error"),
    [("def f():\n    1 / 0\nf()\n", "ZeroDivisionError"), ("x = (\n", "SyntaxError"), ("import nothing\n", "nothing")],
)
def test_a_script_that_fails_prints_its_traceback_and_exits_with_1(project, script, error):
    project.write()
    ended = shell(project, script)
    assert ended.returncode == 1
    assert error in ended.stderr
    assert '"<stdin>", line' in ended.stderr


def test_the_exit_status_of_a_script_is_its_own(project):
    project.write()
    assert shell(project, "import sys; sys.exit(7)").returncode == 7


def test_without_a_file_it_says_how_to_use_it_and_exits_with_1(project):
    ended = project.run(command="ws_shell")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("usage: ws-shell")


def test_a_missing_file_is_one_line_with_its_path(project):
    ended = project.run("nowhere.ini", command="ws_shell")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert str(project.folder / "nowhere.ini") in line


def test_variables_are_for_the_whole_file(project):
    project.write(app="how = %(mode)s", rest="[pshell]\nmode_module = %(module)s\n")
    words = ("test.ini", "--ini-var", "mode=x,module=json")
    ended = project.run(*words, command="ws_shell", stdin="print(settings['how'], mode_module.__name__)")
    assert ended.stdout == "x json\n", ended.stderr


def test_the_documents_lines_run_unmodified_without_a_worker(project):
    project.write()
    ended = shell(project, DOCUMENTS)
    assert ended.returncode == 0, ended.stderr
    quiet = "no workers replied\n"
    assert ended.stdout == f"{quiet}0\n{quiet}0\n{quiet}{quiet}Active: {{}}\n0\n"


def test_the_documents_lines_run_unmodified_with_a_worker(project):
    project.write()
    with project.running("worker", "--ini", "test.ini", "-l", "info", "-n", "w@test") as worker:
        worker.wait_for("ready.")
        project.send("tests.add", 1, 2, countdown=600)
        worker.wait_for("tests.add")
        ended = shell(project, DOCUMENTS)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[:3] == ["1", "1", "Instance w@test"]
    assert "'name': 'tests.add'" in lines[3]
    assert lines[-2:] == ["Active: {'w@test': []}", "0"]


def test_the_old_module_is_there_in_the_shell_alone(project):
    with pytest.raises(ModuleNotFoundError):
        import celery.task.control  # noqa: F401


@pytest.mark.parametrize("repl", ["IPython", "standard"])
def test_at_a_terminal_there_is_a_prompt(project, repl, tmp_path):
    project.write()
    if repl == "IPython":
        pytest.importorskip("IPython")
    text = at_terminal(project, without_ipython=repl == "standard")
    assert "greeting is hello" in text
    assert ("In [" in text) == (repl == "IPython")


def at_terminal(project, *, without_ipython):
    """Type a line into a shell at a pseudo terminal, then end it; what was on the screen."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb", "IPYTHONDIR": str(project.folder)}
    hide = "import sys; sys.modules['IPython'] = None; " if without_ipython else ""
    program = f"{hide}from pyramid_celery_tm.scripts.ws_shell import main; raise SystemExit(main(['test.ini']))"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project.folder)
        os.execve(sys.executable, [sys.executable, "-W", "ignore", "-c", program], environment)  # noqa: S606
    screen = bytearray()
    try:
        _read_until(terminal, screen, (b">>> ", b"In ["))
        os.write(terminal, b"print('greeting is', settings['greeting'])\n")
        _read_until(terminal, screen, (b"greeting is hello",))
        os.write(terminal, b"exit()\n")
        _read_until(terminal, screen, ())
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, screen
    return screen.decode(errors="replace")


def _read_until(terminal, screen, texts):
    def seen():
        try:
            screen.extend(os.read(terminal, 4096))
        except OSError:  # the other side is gone
            return True
        return any(text in screen for text in texts)

    wait_until(seen, 60, f"{texts} on the screen")
