"""What is checked before an application is started for a command; that it starts is shown by the functional tests."""

import click
import pytest

from pyramid_celery_tm import startup
from pyramid_celery_tm.exceptions import BadArgument, NotConfigured, SettingsError

CELERY = "[celery]\nbroker_url = redis://localhost/0\n"


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "test.ini"
        path.write_text(text)
        return str(path)

    return write


def application(name):
    return f"[app:main]\nuse = call:tests.functional.apps.commands:{name}\n{CELERY}"


def test_variables_are_pairs_between_commas_and_values_may_have_equals_signs():
    assert startup.parse_variables("a=b=c, d=,e=f") == {"a": "b=c", "d": "", "e": "f"}
    assert startup.parse_variables(None) == {}


@pytest.mark.parametrize("pairs", ["a", "a=b,c", "=b", "a=b,"])
def test_a_malformed_variable_is_an_error_that_shows_the_form(pairs):
    with pytest.raises(BadArgument, match="name=value"):
        startup.parse_variables(pairs)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.ini.*no such file"):
        startup.start(str(tmp_path / "nowhere.ini"))


def test_a_missing_section_is_named_with_its_file(write):
    with pytest.raises(SettingsError, match=r"test\.ini: \[celery\]: the section is missing"):
        startup.start(write("[app:main]\n"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (CELERY, "No section 'main'"),
        (f"[app:main]\nuse = egg:no-such-distribution-anywhere\n{CELERY}", "no-such-distribution-anywhere"),
        (f"[app:main]\nuse = call:json:loads\nx = %(y)s\n{CELERY}", "y"),
    ],
)
def test_a_faulty_application_section_is_the_files_fault(write, text, fault):
    with pytest.raises(SettingsError, match=fault):
        startup.start(write(text))


def test_what_the_import_of_an_application_raises_is_its_own(write):
    with pytest.raises(ModuleNotFoundError):
        startup.start(write(f"[app:main]\nuse = call:no_such_package:main\n{CELERY}"))


def test_a_lookup_error_of_an_imported_module_is_its_own(write, tmp_path, monkeypatch):
    (tmp_path / "faulty_module.py").write_text("{}['missing']\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyError, match="missing"):
        startup.start(write(f"[app:main]\nuse = call:faulty_module:main\n{CELERY}"))


def test_what_main_raises_is_its_own(write):
    with pytest.raises(ZeroDivisionError):
        startup.start(write(application("broken")))


def test_a_setting_that_is_refused_within_pyramids_configuration_is_the_files_fault(write):
    text = application("main").replace("[celery]", "site_url = nonsense\n[celery]")
    with pytest.raises(SettingsError, match="site_url = nonsense"):
        startup.start(write(text))


def test_an_error_within_pyramids_configuration_is_the_applications_own(write):
    with pytest.raises(Exception, match="the action failed"):
        startup.start(write(application("bad_action")))


def test_an_application_of_another_framework_is_refused(write, monkeypatch):
    from pyramid.config import global_registries

    global_registries.empty()
    with pytest.raises(NotConfigured, match="no Pyramid application"):
        startup.start(write(application("foreign")))


def run(*words, names="celery worker"):
    """Run the hook of Celery's own command line within a click command of that path."""
    *groups, last = names.split()
    command = click.Command(last, callback=lambda: startup.start_from_options({"ini": None, "ini_var": None}))
    for name in reversed(groups):
        command = click.Group(name, commands=[command])
    return command.main(names.split()[1:], prog_name=names.split()[0], standalone_mode=False)


@pytest.mark.parametrize("name", ["multi", "upgrade settings", "logtool stats"])
def test_commands_without_an_application_need_no_file(name):
    run(names=f"celery {name}")


def test_a_file_that_is_missing_ends_celerys_command_with_a_line(unconfigured):
    with pytest.raises(SystemExit, match="--ini is missing"):
        run()


def test_celerys_hook_does_nothing_where_the_application_was_started_already(registry):
    run()


def test_an_exception_of_the_application_keeps_its_traceback(write):
    with pytest.raises(ZeroDivisionError):
        startup.start_from_options({"ini": write(application("broken"))})


@pytest.fixture
def unconfigured():
    from pyramid_celery_tm import celery_app

    before = celery_app.conf.get("PYRAMID_REGISTRY")
    celery_app.conf.update(PYRAMID_REGISTRY=None)
    yield
    celery_app.conf.update(PYRAMID_REGISTRY=before)
