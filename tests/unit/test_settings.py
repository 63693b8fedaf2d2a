"""Sections become settings that a real Celery app takes; whatever is wrong in them is told, all of it."""

from __future__ import annotations

import datetime

import pytest
from celery import Celery
from celery.app.defaults import _TO_NEW_KEY, _TO_OLD_KEY, SETTING_KEYS
from celery.beat import Scheduler
from celery.schedules import crontab, schedule
from hypothesis import given
from hypothesis import strategies as st

from pyramid_celery_tm.settings import celery_settings
from pyramid_celery_tm.settings.names import type_of

SEED = {
    "celery": {
        "BROKER_URL": "redis://localhost:6379/3",
        "CELERY_RESULT_BACKEND": "redis://localhost:6379/3",
        "CELERY_IMPORTS": "\npyramid_celery_tm.builtin_tasks\nmyapp.tasks",
        "CELERY_ALWAYS_EAGER": "false",
        "worker_concurrency": "4",
        "timezone": "Europe/Madrid",
    },
    "celery:broker_transport_options": {"visibility_timeout": "43200"},
    "celerybeat:backup": {"task": "backup", "type": "timedelta", "schedule": '{"hours": 24}'},
    "celerybeat:midnight": {"task": "night", "type": "crontab", "schedule": '{"hour": 0, "minute": 0}'},
    "celerybeat:poll": {
        "task": "poll",
        "type": "integer",
        "schedule": "30",
        "args": "[]",
        "kwargs": '{"user": "beat"}',
        "options": '{"queue": "background", "expires": 25}',
    },
    "celeryroute:myapp.tasks.report": {"queue": "heavy", "routing_key": "heavy"},
    "celerythrottle:myapp.tasks.provision": {"concurrency": "4"},
}


def faults_of(sections):
    return [str(fault) for fault in celery_settings(sections).faults]


@pytest.fixture
def app():
    settings = celery_settings(SEED)
    assert (settings.faults, settings.warnings) == ([], [])
    with Celery(set_as_current=False) as app:
        app.config_from_object(settings.values)
        yield app


def test_a_real_app_has_the_values_typed(app):
    assert app.conf.broker_url == "redis://localhost:6379/3"
    assert app.conf.result_backend == "redis://localhost:6379/3"
    assert app.conf.imports == ("pyramid_celery_tm.builtin_tasks", "myapp.tasks")
    assert app.conf.task_always_eager is False
    assert app.conf.worker_concurrency == 4
    assert app.conf.broker_transport_options == {"visibility_timeout": 43200}


def test_a_real_app_tells_the_time_of_the_zone(app):
    assert str(app.timezone) == "Europe/Madrid"


def test_a_real_app_routes_by_the_sections(app):
    assert app.amqp.router.route({}, "myapp.tasks.report")["queue"].name == "heavy"


def test_a_real_beat_has_the_schedules(app):
    entries = Scheduler(app).schedule

    assert entries["backup"].schedule == schedule(datetime.timedelta(days=1))
    assert entries["midnight"].schedule == crontab(hour=0, minute=0)
    assert entries["poll"].schedule == schedule(30)
    assert entries["poll"].kwargs == {"user": "beat"}
    assert entries["poll"].options == {"queue": "background", "expires": 25}


def test_without_sections_there_is_nothing_to_say():
    assert celery_settings({}).values == {}


def test_faults_of_all_sections_are_gathered():
    lines = faults_of(
        {
            "celery": {"BROKER_ULR": "redis://:s3cret@localhost", "enable_utc": "perhaps"},
            "celery:broker_transport_options": {"visibility_timeout": "long"},
            "celerybeat:a": {"task": "a", "type": "cron", "schedule": "1"},
            "celerybeat:b": {"type": "integer", "schedule": "0"},
            "celeryroute:c": {"priority": "9"},
        }
    )

    assert [line.partition(": ")[0] for line in lines] == [
        "[celery] BROKER_ULR = 'redis://:***@localhost'",
        "[celery] enable_utc = 'perhaps'",
        "[celery:broker_transport_options] visibility_timeout = 'long'",
        "[celerybeat:a] type = 'cron'",
        "[celerybeat:b] task",
        "[celerybeat:b] schedule = '0'",
        "[celeryroute:c] queue",
    ]


@pytest.mark.parametrize(
    "name", ["celerybeat", "celerybeat:", "celerybeat: ", "celeryroute", "celeryroute:", "celery:"]
)
def test_a_section_without_a_name_is_refused(name):
    assert len(faults_of({name: {"task": "a"}})) == 1
    assert "has no name" in faults_of({name: {}})[0]


@pytest.mark.parametrize(
    "name", ["celerybeats:a", "celery_beat:a", "celeryroutes:a", "Celery", "CELERYBEAT:a", "celry:a"]
)
def test_a_section_that_is_nearly_one_of_ours_is_refused_not_ignored(name):
    assert "did you mean" in faults_of({name: {}})[0]


@pytest.mark.parametrize("name", ["celery_once", "celeryd", "app:main", "logger_celery", "handler:x", "celery-tools:x"])
def test_sections_of_others_are_left_alone(name):
    assert faults_of({name: {"a": "b"}}) == []


def test_space_around_the_name_of_a_section_means_nothing():
    assert list(celery_settings({"celerybeat: a ": SEED["celerybeat:poll"]}).values["beat_schedule"]) == ["a"]


def samples(setting):
    """Texts that are right for a setting."""
    kind = type_of(setting)
    texts = ("true", "no", "4", "2.5", '{"a": 1}', "UTC", "json, pickle", "Ann,ann@x.org", "auto", "persistent")
    return [text for text in texts if is_right(kind, text)]


def is_right(kind, text):
    try:
        kind.read(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("setting", sorted(SETTING_KEYS - {"beat_schedule"}))
def test_a_setting_has_one_typed_value_under_all_its_names(setting):
    names = {setting, setting.upper(), _TO_OLD_KEY[setting], _TO_OLD_KEY[setting].lower()}

    for text in samples(setting):
        results = [celery_settings({"celery": {name: text}}) for name in names]
        assert [result.faults for result in results] == [[]] * len(names)
        assert [result.values for result in results] == [results[0].values] * len(names)
        assert list(results[0].values) == [setting]
        check_with_celery(results[0].values, setting)


def check_with_celery(values, setting):
    with Celery(set_as_current=False) as app:
        app.config_from_object(dict(values))
        assert app.conf[setting] == values[setting]
        assert type(app.conf[setting]) is type(values[setting])


def test_every_setting_was_tried_with_some_value():
    assert [setting for setting in SETTING_KEYS if not samples(setting)] == []


KEYS = st.sampled_from(sorted({*SETTING_KEYS, *_TO_NEW_KEY, "admins", "use_celeryconfig"}))
HEADS = st.sampled_from(["celery", "celery:", "celerybeat:", "celeryroute:", "celerythrottle:", ""])
TEXTS = st.one_of(st.text(), st.sampled_from(["60*60", "true", "4", "-1", "1e999", "{", "[]", "null", "NaN", "inf"]))


@given(KEYS, TEXTS)
def test_any_text_for_any_setting_is_a_value_or_a_fault(key, text):
    settings = celery_settings({"celery": {key: text}})

    assert bool(settings.values) != bool(settings.faults) or key == "use_celeryconfig"
    assert all("\n" not in str(fault) for fault in settings.faults)


@given(st.dictionaries(st.builds(str.__add__, HEADS, st.one_of(KEYS, st.text())), st.dictionaries(st.text(), TEXTS)))
def test_any_sections_at_all_give_settings_or_faults(sections):
    settings = celery_settings(sections)

    assert set(settings.values) <= SETTING_KEYS | {"admins"}


@given(
    KEYS,
    st.integers(2, 99),
    st.integers(2, 99),
    st.sampled_from(["{}*{}", "{} * {}", "{}**{}", "{}+{}", "int('{}')+{}"]),
)
def test_nothing_is_evaluated(key, a, b, expression):
    values = celery_settings({"celery": {key: expression.format(a, b)}}).values

    assert not [value for value in values.values() if isinstance(value, int | float)]
