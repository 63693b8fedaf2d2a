from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from redis import Redis

from myapp.btcaverage import RatesInvalid, RedisConverter, parse_rates
from myapp.webclient import HttpFault

from .webserver import Answer, WebServer


@pytest.fixture
def converter(redis_url: str, web_server: WebServer) -> Iterator[RedisConverter]:
    with Redis.from_url(redis_url) as redis:
        yield RedisConverter(redis, f"{web_server.url}/rates.json", timeout=5)


def answer(document: Any) -> Answer:
    return Answer(body=[json.dumps(document).encode()])


def test_nothing_is_read_before_anything_was_fetched(converter: RedisConverter) -> None:
    assert converter.read() is None


def test_what_was_fetched_is_read_with_its_moment_and_source(converter: RedisConverter, web_server: WebServer) -> None:
    web_server.answer = answer({"rates": {"USD": 64000.5, "EUR": "59000.10"}})
    fetched = converter.update()
    assert converter.read() == fetched
    assert fetched.rates == {"EUR": Decimal("59000.10"), "USD": Decimal("64000.5")}
    assert fetched.source == f"{web_server.url}/rates.json"
    assert datetime.now(UTC) - fetched.fetched_at < timedelta(minutes=1)


def test_what_was_kept_stays_when_the_source_fails(converter: RedisConverter, web_server: WebServer) -> None:
    web_server.answers = [answer({"rates": {"EUR": "1"}}), Answer(503), answer({"rates": {"EUR": "-1"}})]
    fetched = converter.update()
    with pytest.raises(HttpFault, match="answered 503"):
        converter.update()
    with pytest.raises(RatesInvalid, match="the rate of EUR is no price: '-1'"):
        converter.update()
    assert converter.read() == fetched


@pytest.mark.parametrize("document", [[], "rates", {}, {"rates": {}}, {"rates": ["EUR"]}, None])
def test_a_document_without_rates_is_refused(document: Any) -> None:
    with pytest.raises(RatesInvalid, match="is needed"):
        parse_rates(document)


@pytest.mark.parametrize("price", [None, "a lot", "NaN", "Infinity", 0, -1, [], {}])
def test_a_price_that_is_none_is_refused_by_name(price: Any) -> None:
    with pytest.raises(RatesInvalid, match="the rate of EUR"):
        parse_rates({"rates": {"EUR": price}})
