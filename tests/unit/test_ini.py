"""An INI file is read through plaster, and what cannot be read is one line without a password."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pyramid_celery_tm.exceptions import SettingsError
from pyramid_celery_tm.ini import read_sections


@pytest.fixture
def ini(tmp_path):
    """Writes an INI file and returns its path."""

    def write(text, name="development.ini"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def refused(uri, variables=None):
    """The lines of the error."""
    with pytest.raises(SettingsError) as error:
        read_sections(uri, variables)
    lines = str(error.value).splitlines()
    assert len(lines) == len(error.value.faults)
    return lines


def test_sections_about_celery_are_read_and_no_others(ini):
    path = ini(
        """
[app:main]
use = call:myapp:main
[celery]
BROKER_URL = redis://localhost:6379/3
CELERY_IMPORTS =
    pyramid_celery_tm.builtin_tasks
    myapp.tasks
[celery:broker_transport_options]
visibility_timeout = 43200
[celerybeat:Backup]
task = backup
[celeryroute:myapp.tasks.report]
queue = heavy
[celerythrottle:myapp.tasks.provision]
concurrency = 4
[logger_celery]
level = INFO
"""
    )

    assert read_sections(path) == {
        "celery": {
            "BROKER_URL": "redis://localhost:6379/3",
            "CELERY_IMPORTS": "\npyramid_celery_tm.builtin_tasks\nmyapp.tasks",
        },
        "celery:broker_transport_options": {"visibility_timeout": "43200"},
        "celerybeat:Backup": {"task": "backup"},
        "celeryroute:myapp.tasks.report": {"queue": "heavy"},
        "celerythrottle:myapp.tasks.provision": {"concurrency": "4"},
    }


def test_a_file_without_a_celery_section_is_no_fault(ini):
    assert read_sections(ini("[app:main]\n")) == {}


def test_here_and_file_are_variables(ini):
    path = ini("[celery]\nbeat_schedule_filename = %(here)s/schedule\nworker_state_db = %(__file__)s.db\n")

    assert read_sections(path)["celery"] == {
        "beat_schedule_filename": f"{Path(path).parent}/schedule",
        "worker_state_db": f"{path}.db",
    }


def test_a_path_may_be_relative(ini, monkeypatch):
    path = ini("[celery]\nbeat_schedule_filename = %(here)s\n")
    monkeypatch.chdir(Path(path).parent)

    assert read_sections("development.ini") == {"celery": {"beat_schedule_filename": str(Path(path).parent)}}


def test_default_gives_variables_and_no_options(ini):
    path = ini("[DEFAULT]\nhost = localhost\nother = 1\n[celery]\nbroker_url = redis://%(host)s\n")

    assert read_sections(path) == {"celery": {"broker_url": "redis://localhost"}}


def test_a_section_wins_over_default_and_keeps_its_option(ini):
    path = ini("[DEFAULT]\nqueue = a\nsame = b\n[celeryroute:x]\nqueue = c\nsame = b\n")

    assert read_sections(path) == {"celeryroute:x": {"queue": "c", "same": "b"}}


def test_get_takes_a_value_of_default(ini):
    path = ini("[DEFAULT]\nurl = redis://%(here)s\n[celery]\nget broker_url = url\n")

    assert read_sections(path) == {"celery": {"broker_url": f"redis://{Path(path).parent}"}}


def test_get_of_what_is_not_there_is_a_fault(ini):
    assert "[celery] get broker_url: names no variable" in refused(ini("[celery]\nget broker_url = url\n"))[0]


def test_variables_win_over_those_of_the_uri_and_those_over_default(ini):
    path = ini("[DEFAULT]\na = 1\nb = 1\nc = 1\n[celery]\nx = %(a)s%(b)s%(c)s\n")

    assert read_sections(f"{path}?b=2&c=2", {"c": "3"}) == {"celery": {"x": "123"}}


@pytest.mark.parametrize(
    "form", ["{path}#main", "file+ini://{path}", "pastedeploy+ini://{path}", "pastedeploy://{path}#x"]
)
def test_any_uri_that_plaster_knows_is_read(ini, form):
    path = ini("[celery]\nbroker_url = redis://\n")

    assert read_sections(form.format(path=path)) == {"celery": {"broker_url": "redis://"}}


def test_a_source_that_is_no_ini_file_is_read_by_its_own_loader(tmp_path, monkeypatch):
    # A distribution as plaster finds it: metadata on the path that name a loader.
    info = tmp_path / "toy-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[plaster.wsgi_loader_factory]\ntoy = toy_plaster_loader:Loader\n")
    (tmp_path / "toy_plaster_loader.py").write_text(
        "class Loader:\n"
        "    def __init__(self, uri): self.uri = uri\n"
        "    def get_sections(self): return ['celery', 'app:main']\n"
        "    def get_settings(self, section, defaults): return {'broker_url': self.uri.path + defaults['x']}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    assert read_sections("toy://there", {"x": "/3"}) == {"celery": {"broker_url": "there/3"}}
    del sys.modules["toy_plaster_loader"]


def test_a_package_without_a_file_has_no_sections():
    assert read_sections("egg:myapp") == {}


def test_the_case_of_options_is_kept_in_either_spelling(ini):
    assert read_sections(ini("[celery]\nBROKER_URL = a\nbroker_url = b\n"))["celery"] == {
        "BROKER_URL": "a",
        "broker_url": "b",
    }


def test_a_missing_file_is_one_line_with_the_path(tmp_path):
    path = str(tmp_path / "missing.ini")

    assert refused(path) == [f"{path}: there is no such file ({path})"]


def test_a_folder_is_one_line(tmp_path):
    (tmp_path / "folder.ini").mkdir()

    assert "cannot be read" in refused(str(tmp_path / "folder.ini"))[0]


def test_a_file_that_is_not_text_is_one_line(tmp_path):
    Path(tmp_path / "latin.ini").write_bytes("[celery]\nx = ñ\n".encode("latin-1"))

    assert "is not UTF-8 text (byte 13)" in refused(str(tmp_path / "latin.ini"))[0]


@pytest.mark.parametrize(
    ("uri", "problem"),
    [("development", "nothing tells the format"), ("settings.yaml", 'scheme "file+yaml"'), ("", "format")],
)
def test_a_name_that_no_loader_knows_is_one_line_with_what_is_allowed(uri, problem):
    (line,) = refused(f"{uri}?password=s3cret")

    assert problem in line
    assert "ending in .ini" in line
    assert "s3cret" not in line


def test_a_section_that_is_there_twice_is_refused(ini):
    assert refused(ini("[celerybeat:a]\ntask = a\n[celerybeat:a]\ntask = b\n"))[0].endswith(
        "development.ini: [celerybeat:a]: line 3 opens the section again; allowed: one of each name"
    )


def test_an_option_that_is_there_twice_is_refused(ini):
    assert "[celery] broker_url: line 3 sets it again" in refused(ini("[celery]\nbroker_url = a\nbroker_url = b\n"))[0]


def test_every_line_that_cannot_be_read_is_told_and_not_shown(ini):
    lines = refused(ini("[celery]\ns3cret\n x = 1\ns3cret-too\n"))

    assert [line.split(": ")[1].split(" cannot")[0] for line in lines] == ["line 2", "line 4"]
    assert "s3cret" not in str(lines)


def test_a_line_before_any_section_is_told(ini):
    assert "line 1 stands before any section" in refused(ini("broker_url = redis://:s3cret@x\n"))[0]


@pytest.mark.parametrize("password", ["50%", "a%b", "%!", "100%%%"])
def test_a_percent_sign_in_a_password_is_told_to_be_doubled(ini, password):
    (line,) = refused(ini(f"[celery]\nbroker_url = redis://:s3cret{password}@x\n"))

    assert "[celery] broker_url" in line
    assert "doubled: %%" in line
    assert "s3cret" not in line


def test_a_doubled_percent_sign_is_one(ini):
    assert read_sections(ini("[celery]\nbroker_url = redis://:50%%@x\n"))["celery"] == {"broker_url": "redis://:50%@x"}


def test_a_missing_variable_is_named(ini):
    (line,) = refused(ini("[celery]\nbroker_url = %(host)s\n"))

    assert "[celery] broker_url: there is no variable host" in line


def test_an_option_that_refers_to_itself_is_told(ini):
    assert "[celery] x: refers to itself" in refused(ini("[celery]\nx = %(y)s\ny = %(x)s\n"))[0]


def test_all_faults_of_interpolation_are_told_at_once(ini):
    lines = refused(ini("[celery]\na = 5%\nb = %(no)s\nc = 1\n[celeryroute:x]\nqueue = 5%\n"))

    assert [line.split(": ")[1] for line in lines] == ["[celery] a", "[celery] b", "[celeryroute:x] queue"]


def test_what_is_wrong_in_the_sections_of_others_is_theirs(ini):
    assert read_sections(ini("[app:main]\nx = 5%\n[celery]\na = 1\n")) == {"celery": {"a": "1"}}
