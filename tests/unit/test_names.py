"""Names and types of settings are Celery's own."""

from __future__ import annotations

import math

import pytest
from celery.app.defaults import _TO_NEW_KEY, SETTING_KEYS

from pyramid_celery_tm.settings.names import near_setting, setting_named, type_of
from pyramid_celery_tm.settings.values import ANYTHING


@pytest.mark.parametrize("spelt", [str.lower, str.upper, str.title])
def test_every_new_name_is_known_in_any_case(spelt):
    assert {name: setting_named(spelt(name)) for name in SETTING_KEYS} == {name: name for name in SETTING_KEYS}


@pytest.mark.parametrize("spelt", [str.lower, str.upper])
def test_every_old_name_means_its_new_one_in_any_case(spelt):
    assert {old: setting_named(spelt(old)) for old in _TO_NEW_KEY} == _TO_NEW_KEY


@pytest.mark.parametrize("option", ["", "brokerurl", "celery_broker_url", "use_celeryconfig"])
def test_what_celery_does_not_know_is_no_setting(option):
    assert setting_named(option) is None


def test_only_what_celery_calls_any_has_no_certain_type():
    uncertain = {name for name in SETTING_KEYS if type_of(name) is ANYTHING}

    assert uncertain == {"database_engine_callback", "task_annotations"}


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        ("broker_heartbeat_checkrate", "2.5", 2.5),
        ("result_backend_max_retries", "inf", math.inf),
        ("beat_cron_starting_deadline", "60", 60),
        ("result_compression", "gzip", "gzip"),
        ("task_default_delivery_mode", "persistent", 2),
        ("task_default_priority", "5", 5),
        ("worker_concurrency", "auto", "auto"),
        ("broker_use_ssl", '{"cert_reqs": 2}', {"cert_reqs": 2}),
        ("broker_use_ssl", "true", True),
    ],
)
def test_types_that_celerys_table_has_wrong_are_right_here(setting, text, value):
    assert type_of(setting).read(text) == value


@pytest.mark.parametrize(
    ("option", "near"),
    [
        ("broker_ulr", "broker_url"),
        ("BROKER_ULR", "BROKER_URL"),
        ("CELERY_IMPORT", "CELERY_IMPORTS"),
        ("CELERY_BROKER_URL", "BROKER_URL"),
        ("celery_task_always_eager", "task_always_eager"),
    ],
)
def test_a_misspelt_setting_gets_the_near_name_in_its_own_case(option, near):
    assert near_setting(option) == f", did you mean {near!r}?"


def test_a_name_like_no_other_gets_no_suggestion():
    assert near_setting("zzzzzzzz") == ""
