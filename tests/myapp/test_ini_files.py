"""The INI files that are shipped."""

from __future__ import annotations

import configparser
import logging
from pathlib import Path

import pytest
from pyramid.paster import get_app

from myapp.sms import ConsoleSms, HttpSms, service_from_settings
from pyramid_celery_tm import celery_app

NAMES = ["development", "production", "test"]


@pytest.mark.parametrize("name", NAMES)
def test_each_file_makes_an_application_without_a_warning(
    name: str, ini_file: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MYAPP_SMS_KEY", "from the environment")
    with caplog.at_level(logging.WARNING):
        registry = get_app(str(Path(ini_file).with_name(f"{name}.ini"))).registry
    registry["dbengine"].dispose()
    assert [line for line in caplog.messages if line != "Celery is configured anew"] == []
    assert registry.settings["sms.key"] == "from the environment"
    service = service_from_settings(registry.settings)
    assert isinstance(service, HttpSms if name == "production" else ConsoleSms)
    assert celery_app.conf.task_always_eager is (name == "test")
    assert celery_app.conf.broker_url.endswith("/15" if name == "test" else "/3")
    assert celery_app.conf.broker_transport_options["visibility_timeout"] == 43200


def test_the_files_have_the_same_sections_in_the_same_order(ini_file: str) -> None:
    sections = []
    for name in NAMES:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(Path(ini_file).with_name(f"{name}.ini"))
        sections.append(parser.sections())
    assert sections[0] == sections[1] == sections[2]


def test_production_invents_nothing_and_keeps_its_cookie_to_https(ini_file: str) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(Path(ini_file).with_name("production.ini"))
    settings = parser["app:main"]
    assert not settings.getboolean("rates.fake")
    assert not settings.getboolean("demo_data")
    assert settings.getboolean("csrf.secure")
    assert "sms.key" not in settings
