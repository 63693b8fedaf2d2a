from __future__ import annotations

import logging

import pytest
from pyramid.exceptions import ConfigurationError

from myapp.sms import ConsoleSms, HttpSms, SmsRefused, SmsUnavailable, service_from_settings

from .webserver import Answer, Received, WebServer


@pytest.fixture
def service(web_server: WebServer) -> HttpSms:
    return HttpSms(f"{web_server.url}/messages", "the-key", timeout=5)


def test_the_service_is_handed_number_text_and_key(service: HttpSms, sent_sms: list[Received]) -> None:
    service.send("+441632960001", "Grüße, Ada", "m1")
    [request] = sent_sms
    assert request.json == {"to": "+441632960001", "text": "Grüße, Ada"}
    assert request.headers["Authorization"] == "Bearer the-key"
    assert request.headers["Idempotency-Key"] == "m1"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_a_service_in_trouble_is_worth_another_try(service: HttpSms, web_server: WebServer, status: int) -> None:
    web_server.answer = Answer(status)
    with pytest.raises(SmsUnavailable, match=f"answered {status}"):
        service.send("+44", "Hello", "m1")


@pytest.mark.parametrize("status", [302, 400, 401, 404, 422])
def test_a_service_that_says_no_is_not_asked_again(service: HttpSms, web_server: WebServer, status: int) -> None:
    web_server.answer = Answer(status)
    with pytest.raises(SmsRefused, match=f"answered {status}"):
        service.send("+44", "Hello", "m1")


def test_a_service_that_is_not_there_is_worth_another_try(web_server: WebServer) -> None:
    service = HttpSms(web_server.url, "k", timeout=5)
    web_server.close()
    with pytest.raises(SmsUnavailable, match="was not reached"):
        service.send("+44", "Hello", "m1")


def test_the_console_shows_the_message(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "myapp.sms"):
        ConsoleSms().send("+44", "Hello", "m1")
    assert "m1 to +44: Hello" in caplog.text


def test_the_key_is_not_shown_where_the_service_is() -> None:
    assert "the-key" not in repr(HttpSms("http://x", "the-key"))


def test_the_settings_choose_the_service() -> None:
    assert service_from_settings({}) == ConsoleSms()
    assert service_from_settings({"sms.service": "console"}) == ConsoleSms()
    settings = {"sms.service": "http", "sms.url": "http://x", "sms.key": "k", "sms.timeout": "2.5"}
    assert service_from_settings(settings) == HttpSms("http://x", "k", 2.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sms.service": "pigeon"}, "sms.service = pigeon: allowed are console and http"),
        ({"sms.service": "http"}, "sms.url is missing"),
        ({"sms.service": "http", "sms.url": "http://x", "sms.timeout": "soon"}, "sms.timeout = soon: allowed"),
        ({"sms.service": "http", "sms.url": "http://x", "sms.timeout": "0"}, "sms.timeout = 0: allowed"),
        ({"sms.service": "http", "sms.url": "http://x", "sms.timeout": "nan"}, "sms.timeout = nan: allowed"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        service_from_settings(settings)
