"""Several programs and one end: real programs, real signals."""

from __future__ import annotations

import io
import os
import pty
import signal
import sys
from contextlib import contextmanager
from itertools import count
from threading import Thread
from time import monotonic

import pytest

pytest.importorskip("honcho")
pytest.importorskip("hupper")

from pyramid_celery_tm.scripts import console as module
from pyramid_celery_tm.scripts.console import Console, Over, Program
from tests.services import wait_until
from tests.unit.test_keeper import all_gone

#: Ends when it is asked to, as all of ours do.
POLITE = """
import signal, sys, time
def end(number, frame):
    print("ending", flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, end)
print("up", flush=True)
time.sleep(600)
"""
STUBBORN = POLITE.replace("sys.exit(0)", "pass") + "time.sleep(600)"


def python(name: str, code: str, **options) -> Program:
    return Program(name, [sys.executable, "-c", code], **options)


def send(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@contextmanager
def meanwhile(*steps):
    """Do something in a thread while the console runs."""

    def do():
        for step in steps:
            step()

    thread = Thread(target=do)
    thread.start()
    yield
    thread.join()


@pytest.fixture
def output():
    return io.StringIO()


@pytest.fixture
def lines(output):
    """Waits for lines of the output: texts with the number of times."""

    def wait(text: str, times: int = 1):
        return lambda: wait_until(
            lambda: output.getvalue().count(text) >= times, what=f"{text!r} in\n{output.getvalue()}"
        )

    return wait


def run(output, *programs, reload=False, watch=()):
    """Run programs until the end; return the exit status."""
    try:
        with Console(output, os.environ, reload=reload) as console:
            for program in programs:
                console.start(program)
            for path in watch:
                console.watch(str(path))
            console.run()
    except Over as over:
        return over.status


def texts(output) -> list[str]:
    return [line.partition("| ")[2] for line in output.getvalue().splitlines()]


# -- output


def test_each_line_begins_with_the_time_and_the_program(output, lines):
    with meanwhile(lines("| up", 2), send):
        run(output, python("web", POLITE), python("a-long-name", POLITE))

    prefixes = {line[9:].partition("|")[0] for line in output.getvalue().splitlines()[2:]}
    assert prefixes == {"web         ", "a-long-name ", "ws-run      "}


def test_a_line_without_an_end_and_one_that_is_no_utf8_are_shown(output):
    run(output, python("web", r"import os; os.write(2, b'\xff\n\nlast')"))

    assert [line.partition("web    | ")[2] for line in output.getvalue().splitlines()][:3] == ["\ufffd", "", "last"]


def test_nothing_is_coloured_in_a_file(output):
    run(output, python("web", "print(1)"))

    assert "\033" not in output.getvalue()


@pytest.mark.parametrize(("no_colour", "coloured"), [(None, True), ("1", False)])
def test_prefixes_are_coloured_on_a_terminal(no_colour, coloured, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_colour:
        monkeypatch.setenv("NO_COLOR", no_colour)
    master, slave = pty.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as terminal:
        run(terminal, python("web", "print(1)"))
        seen = os.read(master, 10000)
    os.close(master)

    assert (b"\033[" in seen) is coloured


def test_all_end_when_nobody_reads_any_more():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as output:
        assert run(output, python("web", POLITE)) == 0


def test_a_program_reads_its_input_and_then_the_end(output):
    run(output, python("web", "import sys; print(sys.stdin.read() + '.')", input=b"hello"), python("beat", POLITE))

    assert "hello." in texts(output)


def test_input_that_nobody_reads_is_no_error(output):
    program = python("web", "import os; os.close(0)", input=b"x" * 1_000_000)

    assert run(output, program) == 1


# -- the end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_all_are_asked_to_end_by_one_signal(number, output, lines):
    with meanwhile(lines("| up", 2), lambda: send(number)):
        status = run(output, python("web", POLITE), python("beat", POLITE))

    assert status == 0
    assert texts(output).count("ending") == 2


def test_the_handlers_of_signals_are_put_back(output):
    before = signal.getsignal(signal.SIGINT)
    run(output, python("web", ""))

    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        ("import sys; sys.exit(3)", 3, "web ended by itself with status 3: all end"),
        ("", 1, "web ended by itself with status 0: all end"),
        ("import os; os.kill(os.getpid(), 9)", 137, "web was ended by SIGKILL: all end"),
    ],
)
def test_when_one_ends_by_itself_all_end_and_it_is_named(code, status, text, output):
    assert run(output, python("beat", POLITE), python("web", code)) == status
    assert text in texts(output)


def test_the_last_words_of_a_program_are_shown(output):
    run(output, python("web", "raise ValueError('why')"))

    assert texts(output)[-2:] == ["ValueError: why", "web ended by itself with status 1: all end"]


def test_a_program_that_does_not_end_is_killed(output, lines, monkeypatch):
    monkeypatch.setattr(module, "GRACE", 0.5)
    with meanwhile(lines("| up"), send):
        run(output, python("worker", STUBBORN))

    assert texts(output)[-2:] == ["ending", "worker has not ended and is killed"]


def test_a_second_ctrl_c_kills_at_once(output, lines):
    with meanwhile(lines("| up"), send, lines("| ending"), send):
        run(output, python("worker", STUBBORN))

    assert texts(output)[-1] == "worker has not ended and is killed"


def test_the_servers_end_last(output, lines):
    with meanwhile(lines("| up", 2), send):
        run(output, python("redis", POLITE, serves=True), python("worker", POLITE))

    assert [line.split()[1] for line in output.getvalue().splitlines() if line.endswith("| ending")] == [
        "worker",
        "redis",
    ]


def test_what_a_program_leaves_behind_ends_with_it(output):
    child = "import subprocess; print('pid', subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    run(output, python("web", child))

    [line] = [text for text in texts(output) if text.startswith("pid ")]
    all_gone([int(line.split()[1])])


def test_a_program_that_cannot_be_started_ends_the_others(output):
    with pytest.raises(FileNotFoundError):
        run(output, python("beat", POLITE), Program("web", ["./no-such-program"]))


# -- waiting


def test_what_is_waited_for_may_come_or_not(output):
    with Console(output, os.environ, reload=False) as console:
        assert console.wait_for(lambda: True, 0)
        assert not console.wait_for(lambda: False, 0.1)


def test_a_program_that_ends_ends_the_waiting(output):
    with pytest.raises(Over), Console(output, os.environ, reload=False) as console:
        console.start(python("redis", "", serves=True))
        console.wait_for(lambda: False, 30)


# -- starting anew


@pytest.fixture
def file(tmp_path):
    """A file that programs say they have loaded."""
    path = tmp_path / "file.py"
    path.write_text("")
    return path


def loads(file, code: str) -> str:
    return f"import os; os.write(int(os.environ['WS_RUN_FILES']), b'{file}\\n')\n{code}"


@pytest.fixture
def edit(file, output):
    """Writes into the file, with a later time at each look, until that was noticed."""
    times = count(2_000_000_000)

    def edit(text: str = ""):
        noticed = output.getvalue().count("changed: all are")

        def is_noticed():
            os.utime(file, (next(times),) * 2)
            return output.getvalue().count("changed: all are") > noticed

        file.write_text(text)
        wait_until(is_noticed, what="a look at the file", every=0.2)

    return edit


def test_programs_are_started_anew_when_a_file_of_theirs_changes(output, lines, file, edit):
    server = python("redis", POLITE.replace("up", "ready"), serves=True)
    with meanwhile(lines("| up", 2), edit, lines("| up", 4), send):
        status = run(
            output, server, python("web", loads(file, POLITE)), python("worker", loads(file, POLITE)), reload=True
        )

    assert status == 0
    assert f"{file} changed: all are started anew" in texts(output)
    assert texts(output).count("ready") == 1


def test_a_file_that_no_program_has_loaded_may_be_watched_too(output, lines, file, edit):
    with meanwhile(lines("| up"), edit, lines("| up", 2), send):
        assert run(output, python("web", POLITE), reload=True, watch=[file]) == 0


def test_nothing_is_started_anew_where_that_is_not_wanted(output, lines, file):
    code = "import os, sys; print(os.environ.get('WS_RUN_FILES'))"
    run(output, python("web", code), watch=[file])

    assert "None" in texts(output)


def test_a_change_is_left_alone_where_that_is_wanted(output, lines, file):
    times = count(2_000_000_000)

    def change_for_a_while():
        started = monotonic()
        wait_until(lambda: os.utime(file, (next(times),) * 2) or monotonic() - started > 2.5, every=0.2)

    with meanwhile(lines("| up"), change_for_a_while, send):
        assert run(output, python("web", POLITE), watch=[file]) == 0

    assert "changed" not in output.getvalue()


def test_what_an_edit_broke_is_started_anew_by_the_next_one(output, lines, file, edit):
    code = loads(file, f"import sys; sys.exit(4) if open({str(file)!r}).read() == 'broken' else 0\n{POLITE}")
    again = "web ended by itself with status 4; it is started anew when a file changes"
    with meanwhile(lines("| up"), lambda: edit("broken"), lines(again), lambda: edit("whole"), lines("| up", 2), send):
        assert run(output, python("web", code), reload=True) == 0


def test_what_is_killed_after_an_edit_ends_all(output, lines, file, edit):
    code = loads(file, f"import signal; os.kill(os.getpid(), 9) if open({str(file)!r}).read() else 0\n{POLITE}")
    with meanwhile(lines("| up"), lambda: edit("kill")):
        assert run(output, python("web", code), reload=True) == 137


def test_ctrl_c_while_programs_are_started_anew_ends_all_in_peace(output, lines, file, edit):
    slow = POLITE.replace("sys.exit(0)", "time.sleep(1); sys.exit(0)")
    with meanwhile(lines("| up"), edit, lines("| ending"), send):
        status = run(output, python("worker", loads(file, slow)), reload=True)

    assert status == 0
    assert "killed" not in output.getvalue()
    assert texts(output).count("up") == 1


def test_a_server_that_ends_while_programs_are_started_anew_ends_all(output, lines, file, edit, tmp_path):
    sign = tmp_path / "sign"
    server = f"import os, sys, time\nwhile not os.path.exists({str(sign)!r}): time.sleep(0.02)\nsys.exit(5)"
    worker = POLITE.replace("sys.exit(0)", f"open({str(sign)!r}, 'w'); time.sleep(0.5); sys.exit(0)")
    with meanwhile(lines("| up"), edit):
        status = run(output, python("redis", server, serves=True), python("worker", loads(file, worker)), reload=True)

    assert status == 5
    assert "redis ended by itself with status 5: all end" in texts(output)
