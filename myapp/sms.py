"""The service that sends text messages. It knows numbers and texts; what is written to whom is :mod:`myapp.messages`.

Two implementations, chosen by ``sms.service`` in the INI file:

``console``
    writes the text to the log, for development;
``http``
    posts ``{"to": ..., "text": ...}`` to ``sms.url``. The key goes along as a bearer token; it is the setting
    ``sms.key``, or better the environment variable ``MYAPP_SMS_KEY``. ``sms.timeout`` is in seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.request import Request

from . import webclient

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 10.0
TRY_LATER = {408, 425, 429}
"""Statuses below 500 that may be another one the next time."""


class SmsError(Exception):
    """The service did not take the message."""


class SmsUnavailable(SmsError):
    """It may take it later: not reached, too slow, overloaded, or broken."""


class SmsRefused(SmsError):
    """It will not take this message, however often it is asked."""


class SmsService(Protocol):
    """What can send a text message."""

    def send(self, phone: str, text: str, key: str) -> None:
        """Send a message.

        :param phone: the number.
        :param text: what it says.
        :param key: one per message and the same in each try, so that the service can drop a second copy.
        :raises SmsUnavailable: worth another try.
        :raises SmsRefused: not worth one.
        """


@dataclass(frozen=True)
class ConsoleSms:
    """Logs the message instead of sending it."""

    def send(self, phone: str, text: str, key: str) -> None:
        """See :meth:`SmsService.send`; this one never fails."""
        logger.info("Text message %s to %s: %s", key, phone, text)


@dataclass(frozen=True)
class HttpSms:
    """Hands the message to a web service."""

    url: str
    key: str = field(repr=False)
    timeout: float = DEFAULT_TIMEOUT

    def send(self, phone: str, text: str, key: str) -> None:
        """See :meth:`SmsService.send`. The key of the message travels as the header ``Idempotency-Key``."""
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": key}
        try:
            webclient.post_json(self.url, {"to": phone, "text": text}, headers, self.timeout)
        except webclient.HttpFault as fault:
            raise _sms_error(fault) from fault


def _sms_error(fault: webclient.HttpFault) -> SmsError:
    worth_another_try = fault.status is None or fault.status >= 500 or fault.status in TRY_LATER
    return SmsUnavailable(str(fault)) if worth_another_try else SmsRefused(str(fault))


def service_from_settings(settings: Mapping[str, Any]) -> SmsService:
    """Choose the service.

    :param settings: the section ``[app:main]``.
    :return: the service that ``sms.service`` names.
    :raises ConfigurationError: an unknown name, no ``sms.url``, or a timeout that is no number above 0.
    """
    name = settings.get("sms.service", "console")
    if name == "console":
        return ConsoleSms()
    if name != "http":
        raise ConfigurationError(f"[app:main] sms.service = {name}: allowed are console and http")
    if not settings.get("sms.url"):
        raise ConfigurationError("[app:main] sms.url is missing: sms.service = http needs the address to post to")
    return HttpSms(settings["sms.url"], settings.get("sms.key", ""), _timeout(settings))


def _timeout(settings: Mapping[str, Any]) -> float:
    written = settings.get("sms.timeout", DEFAULT_TIMEOUT)
    try:
        seconds = float(written)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 3600:
        raise ConfigurationError(f"[app:main] sms.timeout = {written}: allowed are seconds from above 0 to 3600")
    return seconds


def includeme(config: Configurator) -> None:
    """Make the service of the settings available as ``request.sms``."""
    service = service_from_settings(config.get_settings())

    def sms(request: Request) -> SmsService:
        return service

    config.add_request_method(sms, reify=True)
