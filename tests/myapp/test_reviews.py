"""The page that the message leads to."""

from __future__ import annotations

import pytest
import webtest

from myapp.models import Customer, Delivery, Review
from myapp.models.review import MAX_COMMENT

from .conftest import Saved, on_both_databases


@pytest.fixture
def uuid(saved: Saved) -> str:
    """Of a completed delivery."""
    with saved() as dbsession:
        delivery = Delivery(customer=Customer(name="Ada", phone="+44"))
        dbsession.add(delivery)
        dbsession.flush()
        delivery.complete()
    return delivery.uuid


def reviews(saved: Saved) -> list[tuple[int, str]]:
    with saved() as dbsession:
        return [(review.rating, review.comment) for review in dbsession.query(Review)]


@on_both_databases
def test_a_review_is_saved_and_thanked_for(live: webtest.TestApp, uuid: str, saved: Saved) -> None:
    form = live.get(f"/review/{uuid}").form
    form["rating"] = "5"
    form["comment"] = " <b>Très bien</b>\x00 "
    page = form.submit(status=303).follow()
    assert page.html.h1.text == "Thank you"
    assert "&lt;b&gt;Très bien&lt;/b&gt;" in page
    assert reviews(saved) == [(5, "<b>Très bien</b>")]
    with saved() as dbsession:
        assert dbsession.query(Delivery).one().reviewed


def test_a_delivery_is_reviewed_once(live: webtest.TestApp, uuid: str, saved: Saved) -> None:
    form = live.get(f"/review/{uuid}").form
    for rating in ("5", "1"):
        form["rating"] = rating
        form.submit(status=303)
    assert reviews(saved) == [(5, "")]


def test_a_form_without_stars_is_shown_again_with_its_comment(live: webtest.TestApp, uuid: str, saved: Saved) -> None:
    form = live.get(f"/review/{uuid}").form
    form["comment"] = "all is well"
    page = form.submit(status=400)
    assert page.html.select_one("[role=alert]").text == "Choose one to five stars."
    assert page.form["comment"].value.strip() == "all is well"
    assert reviews(saved) == []


def test_a_comment_that_is_too_long_is_refused(live: webtest.TestApp, uuid: str, saved: Saved) -> None:
    form = live.get(f"/review/{uuid}").form
    form["rating"] = "3"
    form["comment"] = "x" * (MAX_COMMENT + 1)
    assert f"at most {MAX_COMMENT} fit" in form.submit(status=400)
    assert reviews(saved) == []


def test_a_closed_review_has_no_form(live: webtest.TestApp, uuid: str, saved: Saved) -> None:
    with saved() as dbsession:
        dbsession.query(Delivery).one().reviewed = True
    page = live.get(f"/review/{uuid}")
    assert "is closed" in page
    assert page.forms == {}


def test_the_customers_page_does_not_lead_to_the_pages_of_the_office(live: webtest.TestApp, uuid: str) -> None:
    assert live.get(f"/review/{uuid}").html.nav is None


def test_an_open_delivery_cannot_be_reviewed(live: webtest.TestApp, delivery_id: int, saved: Saved) -> None:
    with saved() as dbsession:
        uuid = dbsession.get(Delivery, delivery_id).uuid
    live.get(f"/review/{uuid}", status=404)


@pytest.mark.parametrize("uuid", ["0" * 32, "1", "x" * 32])
def test_an_unknown_address_is_not_found(live: webtest.TestApp, uuid: str) -> None:
    live.get(f"/review/{uuid}", status=404)
