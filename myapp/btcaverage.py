"""Conversion rates of bitcoin: fetched from a web service, kept in Redis, where every process finds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from redis import Redis

from . import webclient

KEY = "myapp:conversion_rates"
"""Where Redis keeps them: one value, so that nobody ever reads half of an update."""

DEFAULT_TIMEOUT = 10.0


class RatesInvalid(Exception):
    """The service answered something that is not a table of rates."""


@dataclass(frozen=True)
class ConversionRates:
    """What one bitcoin costs, and as of when."""

    rates: Mapping[str, Decimal]
    """Code of the currency -> price of one bitcoin."""
    fetched_at: datetime
    source: str


class RedisConverter:
    """Fetches the rates into Redis, and reads them there.

    :param redis: the client to keep them with.
    :param url: where they are fetched, over HTTP.
    :param timeout: seconds that this may take.
    """

    def __init__(self, redis: Redis, url: str, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.redis = redis
        self.url = url
        self.timeout = timeout

    @classmethod
    def from_settings(cls, redis: Redis, settings: Mapping[str, Any]) -> RedisConverter:
        """:return: a converter for what ``rates.url`` and ``rates.timeout`` say."""
        return cls(redis, settings.get("rates.url", ""), float(settings.get("rates.timeout", DEFAULT_TIMEOUT)))

    def update(self) -> ConversionRates:
        """Fetch the rates and keep them.

        :return: what was fetched.
        :raises HttpFault: the service was not reached, or did not answer with JSON.
        :raises RatesInvalid: it answered something else than rates; what was kept before, stays.
        :raises redis.RedisError: Redis did not take them.
        """
        rates = parse_rates(webclient.get_json(self.url, self.timeout))
        fetched = ConversionRates(rates, datetime.now(UTC), self.url)
        self.redis.set(KEY, _dump(fetched))
        return fetched

    def read(self) -> ConversionRates | None:
        """:return: what was fetched last, or None.

        :raises redis.RedisError: Redis does not answer.
        """
        kept = self.redis.get(KEY)
        return None if kept is None else _load(kept)


def parse_rates(document: Any) -> dict[str, Decimal]:
    """Check what the service answered.

    :param document: ``{"rates": {"EUR": "61234.50", ...}}``; a price may be a string or a number.
    :return: code -> price.
    :raises RatesInvalid: anything else.
    """
    rates = document.get("rates") if isinstance(document, dict) else None
    if not isinstance(rates, dict) or not rates:
        raise RatesInvalid('a document like {"rates": {"EUR": "61234.50"}} is needed')
    return {code: _price(code, price) for code, price in sorted(rates.items())}


def _price(code: str, written: Any) -> Decimal:
    try:
        price = Decimal(str(written))
    except InvalidOperation as error:
        raise RatesInvalid(f"the rate of {code} is no number: {written!r}") from error
    if not price.is_finite() or price <= 0:
        raise RatesInvalid(f"the rate of {code} is no price: {written!r}")
    return price


def _dump(fetched: ConversionRates) -> str:
    rates = {code: str(price) for code, price in fetched.rates.items()}
    return json.dumps({"rates": rates, "fetched_at": fetched.fetched_at.isoformat(), "source": fetched.source})


def _load(kept: bytes | str) -> ConversionRates:
    document = json.loads(kept)
    fetched_at = datetime.fromisoformat(document["fetched_at"])
    return ConversionRates(parse_rates(document), fetched_at, document["source"])
