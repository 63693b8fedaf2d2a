"""Sections add to one draft of Celery's settings."""

from __future__ import annotations

import pytest

from pyramid_celery_tm.settings.draft import Draft
from pyramid_celery_tm.settings.section import Section


@pytest.fixture
def draft():
    return Draft()


def section(draft, name, **options):
    return Section(name, options, draft.faults)


def problems(draft):
    return [(fault.section, fault.option, fault.problem) for fault in draft.faults]


def test_old_and_new_names_may_be_mixed(draft):
    draft.read_settings(section(draft, "celery", BROKER_URL="redis://", task_always_eager="no", CELERY_TIMEZONE="UTC"))

    assert draft.finished() == {"broker_url": "redis://", "task_always_eager": False, "timezone": "UTC"}
    assert draft.faults == []


def test_a_setting_given_twice_with_one_value_is_no_fault(draft):
    draft.read_settings(section(draft, "celery", CELERY_ALWAYS_EAGER="yes", task_always_eager="true"))

    assert draft.finished() == {"task_always_eager": True}
    assert draft.faults == []


def test_a_setting_given_twice_with_two_values_is_a_fault_that_names_both_keys(draft):
    draft.read_settings(section(draft, "celery", CELERY_TIMEZONE="UTC", timezone="Europe/Madrid"))

    assert problems(draft) == [("celery", "timezone", "says otherwise than [celery] CELERY_TIMEZONE, the same setting")]


def test_a_setting_given_as_option_and_as_section_is_a_fault(draft):
    draft.read_settings(section(draft, "celery", BROKER_TRANSPORT_OPTIONS='{"visibility_timeout": 1}'))
    draft.read_dict(
        section(draft, "celery:broker_transport_options", visibility_timeout="2"), "broker_transport_options"
    )

    assert problems(draft) == [
        (
            "celery:broker_transport_options",
            "",
            "says otherwise than [celery] BROKER_TRANSPORT_OPTIONS, the same setting",
        )
    ]


def test_an_unknown_setting_is_a_fault_with_the_near_name(draft):
    draft.read_settings(section(draft, "celery", CELERY_IMPORT="myapp"))

    assert problems(draft) == [
        ("celery", "CELERY_IMPORT", "is not a setting of Celery, did you mean 'CELERY_IMPORTS'?")
    ]


def test_every_fault_is_gathered_and_what_is_right_is_read(draft):
    draft.read_settings(
        section(draft, "celery", a="1", worker_concurrency="4", task_time_limit="60*60", enable_utc="?")
    )

    assert [option for _, option, _ in problems(draft)] == ["a", "task_time_limit", "enable_utc"]
    assert draft.finished() == {"worker_concurrency": 4}


def test_a_module_of_settings_is_refused(draft):
    draft.read_settings(section(draft, "celery", use_celeryconfig="true"))

    assert problems(draft) == [("celery", "use_celeryconfig", "asks for a Python module, and none is run")]


def test_no_module_of_settings_is_what_is_done_anyway(draft):
    draft.read_settings(section(draft, "celery", use_celeryconfig="false"))

    assert (draft.finished(), draft.faults) == ({}, [])


def test_a_schedule_in_the_celery_section_is_refused_in_favour_of_sections(draft):
    draft.read_settings(section(draft, "celery", CELERYBEAT_SCHEDULE="{}"))
    draft.read_dict(section(draft, "celery:beat_schedule"), "beat_schedule")

    assert "[celerybeat:NAME]" in str(draft.faults[0])
    assert "beat_schedule" in str(draft.faults[1])


def test_all_options_of_a_dict_are_kept_and_typed(draft):
    options = {
        "visibility_timeout": "43200",
        "fanout_prefix": "yes",
        "socket_timeout": "2.5",
        "x": "[1]",
        "Name": "a b",
    }
    draft.read_dict(section(draft, "celery:broker_transport_options", **options), "BROKER_TRANSPORT_OPTIONS")

    assert draft.finished() == {
        "broker_transport_options": {
            "visibility_timeout": 43200,
            "fanout_prefix": True,
            "socket_timeout": 2.5,
            "x": [1],
            "Name": "a b",
        }
    }
    assert (draft.faults, draft.warnings) == ([], [])


@pytest.mark.parametrize("name", ["visibility_timeout", "max_retries"])
@pytest.mark.parametrize("text", ["many", "1.5", "true", '"60"', "60*60"])
@pytest.mark.parametrize("setting", ["broker_transport_options", "result_backend_transport_options"])
def test_what_a_transport_counts_with_must_be_an_integer(draft, setting, name, text):
    draft.read_dict(section(draft, f"celery:{setting}", **{name: text}), setting)

    assert [(fault.option, fault.value) for fault in draft.faults] == [(name, text)]


def test_what_a_transport_counts_with_must_be_an_integer_in_json_too(draft):
    draft.read_settings(section(draft, "celery", broker_transport_options='{"visibility_timeout": "60"}'))

    assert problems(draft) == [
        ("celery", "broker_transport_options", "has a visibility_timeout that is not an integer")
    ]


def test_a_misspelt_visibility_timeout_is_warned_of(draft):
    draft.read_dict(section(draft, "celery:x", visibility_timeot="60"), "broker_transport_options")

    assert draft.warnings == ["[celery:x] visibility_timeot is handed on as it is, did you mean 'visibility_timeout'?"]


@pytest.mark.parametrize("name", ["broker_transport_option", "broker_url", "nonsense"])
def test_a_section_for_a_setting_that_is_no_dict_is_refused(draft, name):
    draft.read_dict(section(draft, f"celery:{name}", a="b"), name)

    assert [(fault.section, fault.option) for fault in draft.faults] == [(f"celery:{name}", "")]


def test_routes_of_sections_join_those_of_the_setting(draft):
    draft.read_dict(section(draft, "celery:task_routes", **{"a.*": '{"queue": "x"}'}), "task_routes")
    draft.read_route(section(draft, "celeryroute:b", queue="y"), "b")

    assert draft.finished() == {"task_routes": {"a.*": {"queue": "x"}, "b": {"queue": "y"}}}
    assert draft.faults == []


@pytest.mark.parametrize("routes", ["myapp.router", '{"b": {"queue": "x"}}'])
def test_routes_of_sections_that_cannot_join_are_refused(draft, routes):
    draft.read_settings(section(draft, "celery", task_routes=routes))
    draft.read_route(section(draft, "celeryroute:b", queue="y"), "b")
    draft.finished()

    assert problems(draft) == [("celeryroute:b", "", "says otherwise than [celery] task_routes")]


def test_two_sections_of_one_name_are_refused(draft):
    for _ in range(2):
        draft.read_beat(section(draft, "celerybeat:x", task="a", type="integer", schedule="30"), "x")
        draft.read_route(section(draft, "celeryroute:x", queue="a"), "x")

    assert problems(draft) == [("celerybeat:x", "", "is there twice"), ("celeryroute:x", "", "is there twice")]


@pytest.mark.parametrize(
    ("option", "text", "content"),
    [
        ("CELERY_ACCEPT_CONTENT", "json pickle", "pickle"),
        ("accept_content", "application/x-python-serialize", "application/x-python-serialize"),
        ("accept_content", "json,yaml", "yaml"),
        ("result_accept_content", "pickle", "pickle"),
        ("task_serializer", "pickle", "pickle"),
    ],
)
def test_pickle_and_its_like_are_warned_of(draft, option, text, content):
    draft.read_settings(section(draft, "celery", **{option: text}))
    draft.finished()

    assert draft.faults == []
    assert len(draft.warnings) == 1
    assert draft.warnings[0].startswith(f"[celery] {option} has {content}: ")


def test_json_is_not_warned_of(draft):
    draft.read_settings(section(draft, "celery", accept_content="json", task_serializer="json"))
    draft.finished()

    assert draft.warnings == []
