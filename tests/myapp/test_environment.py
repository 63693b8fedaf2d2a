from __future__ import annotations

from myapp.environment import with_secrets


def test_the_environment_wins_over_the_file() -> None:
    settings = {"sqlalchemy.url": "sqlite://", "site_url": "http://localhost"}
    environ = {"MYAPP_SQLALCHEMY_URL": "postgresql+psycopg:///myapp", "MYAPP_SMS_KEY": "k"}
    assert with_secrets(settings, environ) == {
        "sqlalchemy.url": "postgresql+psycopg:///myapp",
        "site_url": "http://localhost",
        "sms.key": "k",
    }


def test_an_empty_variable_says_nothing() -> None:
    assert with_secrets({"sms.key": "k"}, {"MYAPP_SMS_KEY": ""}) == {"sms.key": "k"}
