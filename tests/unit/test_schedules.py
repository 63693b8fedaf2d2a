"""An entry of beat's schedule is right, or a fault tells what is wrong: beat itself would die of it, or never stop."""

from __future__ import annotations

import datetime
import json

import pytest
from celery.schedules import crontab
from hypothesis import given
from hypothesis import strategies as st

from pyramid_celery_tm import ledger
from pyramid_celery_tm.settings.schedules import FIELDS, MISSED, read_entry
from pyramid_celery_tm.settings.section import Section


def read(**options):
    section, warnings = Section("celerybeat:x", options, []), []
    return read_entry(section, warnings), section.faults, warnings


def fault(**options):
    """The only fault of a section."""
    _, faults, _ = read(**{"task": "a", **options})
    assert len(faults) == 1
    return faults[0]


@pytest.mark.parametrize(
    ("kind", "schedule", "value"),
    [
        ("integer", "30", 30),
        ("timedelta", '{"hours": 24}', datetime.timedelta(days=1)),
        ("timedelta", '{"minutes": 1, "seconds": 0.5}', datetime.timedelta(seconds=60.5)),
        ("timedelta", '{"hours": 1, "minutes": -30}', datetime.timedelta(minutes=30)),
        ("crontab", '{"hour": 0, "minute": 0}', crontab(hour=0, minute=0)),
        ("crontab", '{"minute": "*/15"}', crontab(minute="*/15")),
        ("crontab", '{"minute": [0, 30], "day_of_week": "mon-fri"}', crontab(minute=[0, 30], day_of_week="mon-fri")),
        ("crontab", "{}", crontab()),
    ],
)
def test_a_schedule_of_each_type_is_read(kind, schedule, value):
    entry, faults, warnings = read(task="a", type=kind, schedule=schedule)

    assert (faults, warnings) == ([], [])
    assert entry == {"task": "a", "schedule": value}
    assert type(entry["schedule"]) is type(value)


def test_args_kwargs_and_options_are_read_as_json():
    entry, faults, _ = read(
        task="a", type="integer", schedule="30", args='[1, "b"]', kwargs='{"user": "beat"}', options='{"expires": 25}'
    )

    assert faults == []
    assert entry["args"] == [1, "b"]
    assert entry["kwargs"] == {"user": "beat"}
    assert entry["options"] == {"expires": 25}


@pytest.mark.parametrize("policy", MISSED)
def test_what_becomes_of_missed_ticks_is_a_word(policy):
    entry, faults, _ = read(task="a", type="integer", schedule="30", missed=policy)

    assert faults == []
    assert entry["missed"] == policy


def test_an_unknown_policy_for_missed_ticks_is_refused_with_the_near_one():
    wrong = fault(type="integer", schedule="30", missed="onse")

    assert (wrong.option, wrong.value) == ("missed", "onse")
    assert wrong.problem == "is not known, did you mean 'once'?"
    assert wrong.allowed == "skip, once, all"


def test_the_policies_are_those_of_the_ledger():
    assert MISSED == ledger.MISSED


def test_options_may_be_written_in_any_case():
    assert read(Task="a", TYPE="integer", Schedule="30")[:2] == ({"task": "a", "schedule": 30}, [])


def test_all_that_is_missing_is_told_at_once():
    _, faults, _ = read()

    assert [(f.option, f.problem) for f in faults] == [(name, "is missing") for name in ("task", "type", "schedule")]


def test_an_unknown_type_is_refused_in_pyramid_celerys_words():
    wrong = fault(type="crontabs", schedule="{}")

    assert wrong.problem.startswith("schedule type crontabs in section celerybeat:x is invalid")
    assert "did you mean 'crontab'?" in wrong.problem
    assert wrong.allowed == "crontab, timedelta, integer"


@pytest.mark.parametrize("option", ["schedule", "args", "kwargs", "options"])
def test_invalid_json_is_refused_in_pyramid_celerys_words(option):
    wrong = fault(**{"type": "integer", "schedule": "30", option: "60*60"})

    assert wrong.option == option
    assert wrong.value == "60*60"
    assert "is not valid json in section celerybeat:x" in wrong.problem


@pytest.mark.parametrize("schedule", ["0", "-5"])
def test_an_interval_that_is_not_positive_is_refused(schedule):
    assert fault(type="integer", schedule=schedule).problem == "is not an interval greater than 0"


@pytest.mark.parametrize("schedule", ["true", "30.0", '"30"', "null", "[30]", "{}"])
def test_an_interval_that_is_not_an_integer_is_refused(schedule):
    assert fault(type="integer", schedule=schedule).problem == "is not an integer"


@pytest.mark.parametrize("schedule", ["{}", '{"hours": 0}', '{"hours": -1}', '{"hours": 1, "minutes": -60}'])
def test_a_timedelta_that_is_not_positive_is_refused(schedule):
    assert fault(type="timedelta", schedule=schedule).problem == "is not an interval greater than 0"


@pytest.mark.parametrize(
    ("kind", "schedule"), [("integer", "9" * 12), ("integer", "9" * 40), ("timedelta", '{"weeks": 1e300}')]
)
def test_an_interval_beyond_the_calendar_is_refused(kind, schedule):
    assert fault(type=kind, schedule=schedule).problem == "is longer than 100 years"


def test_a_wrong_unit_of_a_timedelta_is_refused_with_the_near_one():
    wrong = fault(type="timedelta", schedule='{"hour": 24}')

    assert wrong.problem == "has an unknown name 'hour', did you mean 'hours'?"
    assert "hours" in wrong.allowed


@pytest.mark.parametrize("number", ['"24"', "true", "null", "[1]"])
def test_a_unit_that_is_not_a_number_is_refused(number):
    assert "is not a number" in fault(type="timedelta", schedule=f'{{"hours": {number}}}').problem


@pytest.mark.parametrize("kind", ["timedelta", "crontab"])
@pytest.mark.parametrize("schedule", ["24", "[]", "null", '"0 0 * * *"'])
def test_what_must_be_an_object_is_refused_otherwise(kind, schedule):
    assert fault(type=kind, schedule=schedule).problem == "is not a JSON object"


def test_hour_24_is_refused_and_the_message_says_what_midnight_is():
    wrong = fault(type="crontab", schedule='{"hour": 24, "minute": 0}')

    assert wrong.problem.startswith("24 is no hour")
    assert "0-23" in wrong.allowed
    assert '{"hour": 0, "minute": 0}' in wrong.allowed


@pytest.mark.parametrize("name", ["hours", "nowfun", "app", "day"])
def test_a_wrong_field_of_a_crontab_is_refused(name):
    assert f"has an unknown name {name!r}" in fault(type="crontab", schedule=f'{{"minute": 0, "{name}": 1}}').problem


def test_every_wrong_field_of_a_crontab_is_told():
    _, faults, _ = read(task="a", type="crontab", schedule='{"hour": 24, "minute": 60, "day_of_week": "someday"}')

    assert [f.problem.split(" (")[0] for f in faults] == [
        "24 is no hour",
        "60 is no minute",
        '"someday" is no day_of_week',
    ]


@pytest.mark.parametrize(
    "pattern", ["[]", "true", "null", "1.5", '["1"]', "[true]", "{}", '""', '"*/0"', '"-1"', '"60"']
)
def test_a_pattern_that_would_stop_beat_is_refused(pattern):
    assert "is no minute" in fault(type="crontab", schedule=f'{{"minute": {pattern}}}').problem


def test_a_date_that_never_comes_is_refused():
    wrong = fault(type="crontab", schedule='{"minute": 0, "day_of_month": 30, "month_of_year": 2}')

    assert wrong.problem.startswith("is never due")


@pytest.mark.parametrize("schedule", ['{"hour": 0}', '{"day_of_week": "mon"}'])
def test_a_crontab_without_minute_is_warned_of(schedule):
    _, faults, warnings = read(task="a", type="crontab", schedule=schedule)

    assert faults == []
    assert len(warnings) == 1
    assert "[celerybeat:x]" in warnings[0]
    assert "every minute" in warnings[0]
    assert '"minute": 0' in warnings[0]


@pytest.mark.parametrize(("option", "text"), [("args", "{}"), ("args", "1"), ("kwargs", "[]"), ("options", "[]")])
def test_args_must_be_a_list_and_kwargs_and_options_objects(option, text):
    wrong = fault(**{"type": "integer", "schedule": "30", option: text})

    assert (wrong.option, wrong.value) == (option, text)
    assert wrong.problem == f"is not a JSON {'list' if option == 'args' else 'object'}"


def test_an_unknown_option_is_refused_with_the_near_one():
    assert fault(type="integer", schedule="30", kwarg="{}").problem.endswith("did you mean 'kwargs'?")


PATTERNS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70),
    st.floats(allow_nan=False),
    st.from_regex(r"[0-9a-z*/,-]{0,8}"),
    st.text(),
)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.one_of(PATTERNS, st.lists(PATTERNS, max_size=3))))
def test_any_crontab_is_a_schedule_that_comes_due_or_a_fault(fields):
    entry, faults, _ = read(task="a", type="crontab", schedule=json.dumps(fields))

    assert bool(faults) == (entry["schedule"] is None)
    if not faults:
        assert all(getattr(entry["schedule"], field) for field in FIELDS)


@given(
    st.sampled_from(["crontab", "timedelta", "integer", ""]),
    st.one_of(st.text(), st.from_regex(r"\{\"(hour|hours|minute)\": ?[0-9.\"-]{0,5}\}", fullmatch=True)),
    st.text(),
)
def test_any_text_is_an_entry_or_a_fault(kind, schedule, args):
    entry, faults, _ = read(task="a", type=kind, schedule=schedule, args=args)

    assert bool(faults) == (entry["schedule"] is None or "args" not in entry)
