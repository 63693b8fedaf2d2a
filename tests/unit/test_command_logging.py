"""The INI file's logging with --loglevel and --logfile on top."""

import logging
import sys

import click
import plaster
import pytest
from celery.signals import setup_logging as celery_asks

from pyramid_celery_tm import command_logging
from pyramid_celery_tm.exceptions import SettingsError

INI = """
[app:main]
[loggers]
keys = root, celery, trace, other
[handlers]
keys = console, file
[formatters]
keys = generic
[logger_root]
level = WARNING
handlers = console, file
[logger_celery]
level = WARNING
handlers =
qualname = celery
[logger_trace]
level = ERROR
handlers =
qualname = celery.app.trace
[logger_other]
level = ERROR
handlers =
qualname = other
[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = WARNING
formatter = generic
[handler_file]
class = FileHandler
args = ("%(here)s/%(name)s.log",)
level = ERROR
formatter = generic
[formatter_generic]
format = INI %(levelname)s %(message)s
"""
VARIABLES = {"name": "all"}
LOGGERS = ("", "celery", "celery.app.trace", "other")


@pytest.fixture(autouse=True)
def logging_as_before():
    root = logging.getLogger()
    handlers, levels = list(root.handlers), {name: logging.getLogger(name).level for name in LOGGERS}
    root.handlers.clear()
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    celery_asks.disconnect(dispatch_uid=command_logging._UID)


@pytest.fixture
def ini(tmp_path):
    path = tmp_path / "logging.ini"
    path.write_text(INI)
    return str(path)


def set_up(ini, loglevel=None):
    command_logging.set_up(plaster.get_loader(ini, protocols=["wsgi"]), ini, VARIABLES, loglevel)


def levels():
    return [logging.getLogger(name).level for name in LOGGERS]


def ask(**options):
    return celery_asks.send(sender=None, **{"loglevel": 30, "logfile": None, "format": "%(message)s", **options})


def ask_from_command(*words, **options):
    @click.command()
    @click.option("--loglevel", default="WARNING")
    def worker(loglevel):
        ask(loglevel=getattr(logging, loglevel), **options)

    worker.main(list(words), standalone_mode=False)


def test_the_files_levels_hold_without_an_option(ini):
    set_up(ini)
    assert levels() == [logging.WARNING, logging.WARNING, logging.ERROR, logging.ERROR]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.CRITICAL])
def test_the_option_wins_for_root_celery_and_the_console_and_leaves_others_alone(ini, level):
    set_up(ini, level)
    assert levels() == [level, level, level, logging.ERROR]
    console, file = logging.getLogger().handlers
    assert (console.level, file.level) == (level, logging.ERROR)


def test_celery_does_not_set_up_logging_of_its_own_where_the_file_does(ini):
    set_up(ini)
    assert len(ask()) == 1


def test_celery_does_so_where_the_file_says_nothing_of_logging(ini, tmp_path):
    set_up(ini)
    bare = tmp_path / "bare.ini"
    bare.write_text("[app:main]\n")
    set_up(str(bare))
    assert ask() == []


def test_celerys_default_level_does_not_win_over_the_file(ini):
    set_up(ini, None)
    ask_from_command()
    assert logging.getLogger("celery.app.trace").level == logging.ERROR


def test_a_level_typed_for_celery_wins_over_the_file(ini):
    set_up(ini)
    ask_from_command("--loglevel", "DEBUG")
    assert levels()[:3] == [logging.DEBUG] * 3


def test_a_log_file_takes_the_place_of_the_console_in_the_files_format(ini, tmp_path):
    set_up(ini)
    for name in ("first.log", "second.log"):
        ask(logfile=str(tmp_path / name))
        logging.getLogger().warning("to %s", name)
    assert (tmp_path / "first.log").read_text() == "INI WARNING to first.log\n"
    assert (tmp_path / "second.log").read_text() == "INI WARNING to second.log\n"
    assert not [handler for handler in logging.getLogger().handlers if getattr(handler, "stream", None) is sys.stderr]


def test_a_log_file_without_a_console_has_celerys_format(ini, tmp_path):
    set_up(ini)
    logging.getLogger().handlers.pop(0).close()
    ask(logfile=str(tmp_path / "only.log"))
    logging.getLogger().error("hello")
    assert (tmp_path / "only.log").read_text() == "hello\n"


def test_faulty_logging_sections_are_an_error_that_names_the_file_and_the_fault(ini, tmp_path):
    broken = tmp_path / "broken.ini"
    broken.write_text(INI.replace("keys = console, file", "keys = console"))
    with pytest.raises(SettingsError, match=r"broken\.ini: \[loggers\].*KeyError: 'file'"):
        set_up(str(broken))
