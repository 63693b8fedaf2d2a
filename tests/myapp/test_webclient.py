from __future__ import annotations

import socket

import pytest

from myapp.webclient import MAX_BODY, HttpFault, get_json, post_json

from .webserver import Answer, WebServer


def test_a_document_is_fetched(web_server: WebServer) -> None:
    web_server.answer = Answer(body=[b'{"a": [1,', b" 2]}"])
    assert get_json(f"{web_server.url}/a.json", timeout=5) == {"a": [1, 2]}
    assert web_server.received[0].path == "/a.json"
    assert web_server.received[0].headers["Accept"] == "application/json"


def test_a_document_is_posted_with_its_headers(web_server: WebServer) -> None:
    post_json(f"{web_server.url}/in", {"text": "Grüße"}, {"X-Key": "k"}, timeout=5)
    [request] = web_server.received
    assert (request.method, request.path, request.json) == ("POST", "/in", {"text": "Grüße"})
    assert request.headers["X-Key"] == "k"
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_an_answer_that_is_not_2xx_is_a_fault_with_its_status(web_server: WebServer, status: int) -> None:
    web_server.answer = Answer(status)
    with pytest.raises(HttpFault, match=f"answered {status}") as fault:
        get_json(web_server.url, timeout=5)
    assert fault.value.status == status


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_since_it_would_carry_the_key_away(web_server: WebServer, status: int) -> None:
    web_server.answer = Answer(status, headers={"Location": f"{web_server.url}/elsewhere"})
    with pytest.raises(HttpFault, match=f"answered {status}"):
        post_json(f"{web_server.url}/in", {}, {"X-Key": "k"}, timeout=5)
    assert [request.path for request in web_server.received] == ["/in"]


def test_a_server_that_is_not_there_is_a_fault_without_a_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(HttpFault, match="was not reached") as fault:
        get_json(f"http://127.0.0.1:{port}/", timeout=5)
    assert fault.value.status is None


def test_a_server_that_does_not_answer_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(HttpFault, match="timed out"):
            get_json(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.2)


def test_a_server_that_drips_is_given_up(web_server: WebServer) -> None:
    web_server.answer = Answer(body=web_server.drip())
    with pytest.raises(HttpFault, match="did not finish its answer in time"):
        get_json(web_server.url, timeout=0.3)


def test_an_answer_without_end_is_given_up(web_server: WebServer) -> None:
    web_server.answer = Answer(body=[b" " * 100_000] * (MAX_BODY // 100_000 + 1))
    with pytest.raises(HttpFault, match=f"more than {MAX_BODY} bytes"):
        get_json(web_server.url, timeout=30)


def test_an_answer_that_is_cut_off_is_a_fault(web_server: WebServer) -> None:
    web_server.answer = Answer(body=[b"{"], headers={"Content-Length": "2"})
    with pytest.raises(HttpFault):
        get_json(web_server.url, timeout=5)


def test_an_answer_that_is_no_json_is_a_fault(web_server: WebServer) -> None:
    web_server.answer = Answer(body=[b"<html>"])
    with pytest.raises(HttpFault, match="not JSON"):
        get_json(web_server.url, timeout=5)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.com/", "http:///path", "", "example.com"])
def test_what_is_no_address_of_a_web_service_is_refused(url: str) -> None:
    with pytest.raises(HttpFault, match="must begin with http"):
        get_json(url, timeout=5)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    web_server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert get_json(web_server.url, timeout=5) == {}
