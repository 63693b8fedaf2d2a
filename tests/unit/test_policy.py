import dataclasses

import pytest
from pyramid.exceptions import ConfigurationExecutionError

from pyramid_celery_tm.exceptions import SettingsError
from pyramid_celery_tm.ledger import Policy, read_policy
from tests.application import make_config


def test_without_settings_the_policy_is_the_default():
    assert read_policy({"sqlalchemy.url": "x", "tasks.attempts": "3", "tasks.relay": ""}) == (Policy(), [])


def test_every_field_is_a_setting():
    texts = {"dbsession": "db", "missed_ticks": "all", "relay": "no"}
    settings = {f"tasks.{field.name}": texts.get(field.name, "17") for field in dataclasses.fields(Policy)}
    policy, faults = read_policy(settings)
    assert faults == []
    assert (policy.dbsession, policy.missed_ticks, policy.relay) == ("db", "all", False)
    assert (policy.resend_after, policy.max_starts) == (17.0, 17)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("resend_after", "0", "seconds, more than 0"),
        ("resend_after", "nan", "seconds, more than 0"),
        ("resend_after", "soon", "seconds, more than 0"),
        ("max_starts", "0", "a number, 1 and above"),
        ("max_starts", "2.5", "a number, 1 and above"),
        ("relay", "perhaps", "true or false"),
        ("missed_ticks", "most", "skip, once, all"),
        ("dbsession", "request.db", "the name of an attribute of the request"),
    ],
)
def test_a_faulty_setting_is_named_with_what_is_allowed(name, value, allowed):
    assert read_policy({f"tasks.{name}": value})[1] == [f"[app:main] tasks.{name} = {value}: allowed: {allowed}"]


def test_all_faults_come_at_once_and_a_misspelt_name_is_one(postgresql_url):
    settings = {"tasks.resend_afer": "5", "tasks.relay": "perhaps"}
    config = make_config(postgresql_url, ledger=True, **settings)
    with pytest.raises(ConfigurationExecutionError) as raised:
        config.commit()
    assert isinstance(raised.value.evalue, SettingsError)
    assert len(raised.value.evalue.faults) == 2
    assert "tasks.resend_afer: is not a setting of the ledger, did you mean 'tasks.resend_after'?" in str(raised.value)


def test_a_message_is_sent_again_later_and_later():
    policy = Policy(resend_after=10, resend_ceiling=60)
    assert [policy.backoff(sends) for sends in range(6)] == [10, 10, 20, 40, 60, 60]
    assert policy.backoff(10**6) == 60
