"""A fault is one line, and no password stands in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_celery_tm.settings.faults import Fault, did_you_mean, masked


def test_a_fault_names_section_option_value_problem_and_what_is_allowed():
    fault = Fault("celery", "worker_concurrency", "four", "is not an integer", "an integer, such as 4")

    assert str(fault) == "[celery] worker_concurrency = 'four': is not an integer; allowed: an integer, such as 4"


def test_a_fault_without_a_value_names_the_option_alone():
    fault = Fault("celerybeat:x", "task", None, "is missing", "the name of a task")

    assert str(fault) == "[celerybeat:x] task: is missing; allowed: the name of a task"


def test_a_fault_of_a_section_names_no_option():
    assert str(Fault("celerybeat:", "", None, "has no name", "[celerybeat:NAME]")).startswith(
        "[celerybeat:]: has no name"
    )


def test_a_value_of_many_lines_is_told_in_one():
    assert "\n" not in str(Fault("celery", "imports", "a\nb", "is odd", "names"))


def test_a_long_value_is_cut():
    assert len(str(Fault("celery", "imports", "x" * 10_000, "is odd", "names"))) < 300


@pytest.mark.parametrize(
    "value",
    [
        "redis://:s3cret@localhost:6379/3",
        "redis://user:s3cret@localhost",
        "amqp://me@home:s3cret@localhost//",
        "redis://:s3cr/e@t-s3cret@localhost",
        "redis://:a s3cret@localhost",
        "redis://:s3cret",
        "redis://localhost?password=s3cret",
        "sentinel://:s3cret@one:26379;sentinel://:s3cret@two:26379",
        "db+postgresql://u:s3cret@/db",
        "//:s3cret@localhost",
        '{"password": "s3cret"}',
        '{"sentinel_kwargs": {"password": "s3cret',
        "{'password': 's3cret'}",
        "{password: s3cret}",
    ],
)
def test_a_password_in_a_value_is_masked(value):
    fault = Fault("celery", "broker_url", value, "is odd", "a URL")

    assert "s3cret" not in str(fault) + repr(fault)
    assert "***" in str(fault)


@pytest.mark.parametrize(
    "option", ["broker_password", "REDIS_PASSWORD", "s3_secret_access_key", "security_key_password"]
)
def test_the_value_of_a_secret_option_is_masked_whole(option):
    assert masked(option, "s3cret") == "***"


@pytest.mark.parametrize("value", ["redis://localhost:6379/3", "60*60", '{"hour": 24}', "json, pickle", "a:b"])
def test_a_value_without_a_password_is_shown_as_it_is(value):
    assert masked("broker_url", value) == value


@given(st.text(st.characters(exclude_characters=":/", exclude_categories=("Cs", "Z", "C"))), st.text(min_size=4))
def test_no_password_of_a_url_survives(user, password):
    shown = masked("broker_url", f"redis://{user}:<<{password}>>@localhost")

    assert f"<<{password}>>" not in shown


def test_a_near_name_is_suggested_and_a_far_one_is_not():
    assert did_you_mean("hour", ["hours", "days"]) == ", did you mean 'hours'?"
    assert did_you_mean("zebra", ["hours", "days"]) == ""
