"""The page that the text message leads to. It is public: who knows the address may review the delivery."""

from __future__ import annotations

from typing import Any

from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.request import Request
from pyramid.view import view_config, view_defaults
from sqlalchemy import select

from ..models import Delivery, Review
from ..models.review import MAX_COMMENT, RATINGS


@view_defaults(route_name="review_public", renderer="myapp:templates/review_public.jinja2")
class ReviewPublic:
    """A delivery, and the form to review it.

    :param request: with the uuid of a completed delivery in its address.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.delivery = self._completed(request.matchdict["delivery_uuid"])

    def _completed(self, uuid: str) -> Delivery:
        query = select(Delivery).where(Delivery.uuid == uuid)
        if self.request.method == "POST":
            # with the row locked, two forms at once become one after the other
            query = query.with_for_update()
        found: Delivery | None = self.request.dbsession.scalar(query)
        if found is None or not found.is_completed:
            raise HTTPNotFound("There is no delivery to review at this address.")
        return found

    def _page(self, comment: str = "", error: str | None = None) -> dict[str, Any]:
        return {
            "delivery": self.delivery,
            "ratings": RATINGS,
            "max_comment": MAX_COMMENT,
            "comment": comment,
            "error": error,
        }

    @view_config(request_method="GET")
    def show(self) -> dict[str, Any]:
        """Show the form, or the thanks."""
        return self._page()

    @view_config(request_method="POST")
    def save(self) -> dict[str, Any] | HTTPSeeOther:
        """Keep the review, or show the form again and say what is missing."""
        rating = self.request.POST.get("rating", "")
        # PostgreSQL cannot keep a NUL, and no keyboard makes one.
        comment = self.request.POST.get("comment", "").replace("\x00", "").strip()
        if rating not in {str(number) for number in RATINGS}:
            return self._refuse(comment, "Choose one to five stars.")
        if len(comment) > MAX_COMMENT:
            return self._refuse(comment, f"The comment has {len(comment)} characters; at most {MAX_COMMENT} fit.")
        if not self.delivery.reviewed:
            self.request.dbsession.add(Review(delivery=self.delivery, rating=int(rating), comment=comment))
            self.delivery.reviewed = True
        return HTTPSeeOther(self.request.path)

    def _refuse(self, comment: str, error: str) -> dict[str, Any]:
        self.request.response.status_int = 400
        return self._page(comment, error)
