"""Which files a program has loaded: real programs that tell through a real pipe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("hupper")

from pyramid_celery_tm.scripts.reload import FILES, command
from tests.services import wait_until

ROOT = str(Path(__file__).parents[2])
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))}


@pytest.fixture
def module(tmp_path):
    """Writes a module for the programs; they run in its directory."""

    def write(code: str, name: str = "told"):
        path = tmp_path / f"{name}.py"
        path.write_text(code)
        return path

    return write


@pytest.fixture
def run(tmp_path):
    """Runs a command to its end; returns the process and the paths that it told."""

    def run(function, *words, told=True):
        reading, writing = os.pipe()
        process = subprocess.run(
            command(function, *words),
            cwd=tmp_path,
            env={**ENV, FILES: str(writing)} if told else ENV,
            pass_fds=[writing] if told else (),
            capture_output=True,
            text=True,
            check=False,
        )
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as paths:
            return process, paths.read().splitlines()

    return run


def test_a_command_sees_its_own_command_line(module, run):
    module("import sys\ndef main(): print(sys.argv)")
    process, _ = run("told:main", "pserve", "development.ini")

    assert process.stdout == "['pserve', 'development.ini']\n"


@pytest.mark.parametrize(("result", "status"), [("None", 0), ("3", 3)])
def test_the_status_is_what_the_function_returns(result, status, module, run):
    module(f"def main(): return {result}")

    assert run("told:main", "x")[0].returncode == status


def test_the_modules_of_a_project_are_told_and_those_of_python_are_not(module, run):
    told, other = module("import json, other\ndef main(): pass"), module("", "other")
    _, paths = run("told:main", "x")

    assert {str(told), str(other)} <= set(paths)
    assert not [path for path in paths if path.endswith("json/__init__.py")]


@pytest.mark.parametrize("code", ["def broken(", "raise ValueError", "import broken_too"])
def test_a_module_that_cannot_be_imported_is_told(code, module, run):
    module("def main(): import broken")
    broken = module(code, "broken")
    module("1/0", "broken_too")
    process, paths = run("told:main", "x")

    assert process.returncode == 1
    assert str(broken) in paths


def test_where_nobody_asks_nothing_is_told(module, run):
    module("import sys\ndef main(): print(sys.dont_write_bytecode)")
    process, paths = run("told:main", "x", told=False)

    assert (process.stdout, paths) == (f"{sys.flags.dont_write_bytecode == 1}\n", [])


def test_ctrl_c_while_it_is_loading_is_no_traceback(module, tmp_path):
    module("import time\ndef main():\n    open('up', 'w')\n    time.sleep(60)")
    with subprocess.Popen(command("told:main", "x"), cwd=tmp_path, env=ENV, stderr=subprocess.PIPE) as process:
        wait_until((tmp_path / "up").exists, what="the program")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()

    assert process.returncode == 130
    assert b"Traceback" not in errors
