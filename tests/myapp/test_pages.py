"""What all pages have in common, and the pages for what went wrong."""

from __future__ import annotations

import pytest
import webtest
from pyramid.router import Router
from sqlalchemy import text
from sqlalchemy.orm import Session

from myapp.models import Backup, Customer, Delivery, ReviewMessage

from .conftest import LiveWith

PAGES = ["/", "/deliveries", "/rates", "/backups", "/nowhere"]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_can_be_read_and_walked_without_scripts_and_without_other_sites(
    testapp: webtest.TestApp, path: str
) -> None:
    response = testapp.get(path, status="*")
    page = response.html
    assert page.html["lang"] == "en"
    assert len(page.select("h1")) == 1
    assert page.select_one("a.skip")["href"] == "#content"
    assert page.select_one("main#content") is not None
    assert page.select("script, [onclick], [style]") == []
    links = [tag.get("href") or tag.get("src") for tag in page.select("[href], [src]")]
    assert all(link.startswith(("/", "#")) for link in links)


@pytest.mark.parametrize("path", PAGES[:-1])
def test_the_page_that_is_open_is_marked_in_the_navigation(testapp: webtest.TestApp, path: str) -> None:
    assert [link["href"] for link in testapp.get(path).html.select("[aria-current=page]")] == [path]


@pytest.mark.parametrize("path", PAGES)
def test_every_response_forbids_what_comes_from_elsewhere(testapp: webtest.TestApp, path: str) -> None:
    headers = testapp.get(path, status="*").headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


# WebOb 1.8 works out the header Expires with it; only static files have one.
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_the_style_sheet_is_served(testapp: webtest.TestApp) -> None:
    href = testapp.get("/").html.select_one("[rel=stylesheet]")["href"]
    assert testapp.get(href).content_type == "text/css"


def test_the_cookie_of_the_forms_is_kept_from_scripts_and_other_sites(
    testapp: webtest.TestApp, live_with: LiveWith
) -> None:
    cookie = testapp.get("/rates").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "secure" not in cookie.lower()
    assert "secure" in live_with({"csrf.secure": "true"}).get("/rates").headers["Set-Cookie"].lower()


def test_the_overview_counts_and_shows_the_last_messages(testapp: webtest.TestApp, dbsession: Session) -> None:
    ada = Customer(name="Ada", phone="+44")
    done = Delivery(customer=ada)
    dbsession.add_all([done, Delivery(customer=ada), Backup(host="h", path="/b/1", size=1)])
    dbsession.flush()
    done.complete()
    dbsession.add(ReviewMessage(delivery=done, phone="+44", text="t", task_id="the-task", tries=2, error="no"))
    page = testapp.get("/").html
    numbers = {div.dt.text: div.dd.text for div in page.select(".numbers div")}
    assert numbers == {"Open deliveries": "1", "Completed": "1", "Messages sent": "0", "Reviews": "0"}
    [row] = page.select("tbody tr")
    assert row.select_one(".state").text == "try 2 failed"
    assert row.code.text == "the-task"


def test_an_error_that_nobody_expected_is_logged_and_not_shown(
    app: Router, live: webtest.TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    with app.registry["dbengine"].begin() as connection:
        connection.execute(text("DROP TABLE review"))
    page = live.get("/", status=500)
    assert "Something went wrong" in page
    assert "no such table" not in page
    assert "no such table: review" in caplog.text
