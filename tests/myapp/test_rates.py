"""The conversion rates: fetched by a task, kept in Redis, shown on a page."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
import webtest
from pyramid.router import Router
from redis import Redis
from waitress.server import create_server

from myapp.btcaverage import KEY
from myapp.webclient import get_json

from .conftest import LiveWith
from .webserver import Answer, WebServer


def test_there_are_none_before_the_first_fetch(live: webtest.TestApp) -> None:
    assert "None were fetched yet" in live.get("/rates")


def test_the_button_has_a_task_fetch_them(live: webtest.TestApp, web_server: WebServer) -> None:
    web_server.answer = Answer(body=[json.dumps({"rates": {"EUR": "59000.1"}}).encode()])
    page = live.get("/rates").form.submit(status=303).follow()
    assert [cell.text for cell in page.html.select("tbody th, tbody td")] == ["EUR", "59,000.10"]
    assert page.html.select_one("[role=status]") is not None
    assert f"{web_server.url}/rates.json" in page
    assert page.html.time is not None


def test_a_source_that_fails_leaves_the_old_rates(live: webtest.TestApp, web_server: WebServer) -> None:
    web_server.answers = [Answer(body=[b'{"rates": {"EUR": 1}}']), Answer(503)]
    live.get("/rates").form.submit(status=303)
    live.get("/rates").form.submit(status=500)
    assert "1.00" in live.get("/rates")


def test_the_page_comes_without_rates_when_redis_is_down(live_with: LiveWith) -> None:
    page = live_with({"redis.url": "redis://127.0.0.1:9/1"}).get("/rates")
    assert page.html.select_one("[role=alert]").text == "Redis, where the rates are kept, does not answer."


@pytest.mark.parametrize("task", ["x", "<script>", "0" * 36 + "0"])
def test_what_is_no_task_id_is_not_shown(live: webtest.TestApp, task: str) -> None:
    assert live.get("/rates", {"task": task}).html.select_one("[role=status]") is None


@pytest.fixture
def fake_source(app: Router) -> Iterator[str]:
    """The application served by waitress, as in development."""
    server = create_server(app, listen="127.0.0.1:0")
    thread = threading.Thread(target=server.run)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}/fake/rates.json"
    server.task_dispatcher.shutdown()
    server.trigger.pull_trigger(server.close)
    thread.join()


def test_the_invented_rates_of_development_are_fetched_over_http(
    fake_source: str, live_with: LiveWith, redis_url: str
) -> None:
    assert "EUR" in get_json(fake_source, timeout=5)["rates"]
    page = live_with({"rates.url": fake_source}).get("/rates").form.submit(status=303).follow()
    assert "These numbers are invented" in page
    with Redis.from_url(redis_url) as redis:
        assert b"EUR" in redis.get(KEY)


def test_production_serves_no_invented_rates(live_with: LiveWith) -> None:
    live_with({"rates.fake": "false"}).get("/fake/rates.json", status=404)
