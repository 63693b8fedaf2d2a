"""What a customer thought of a delivery."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .meta import Base, UtcDateTime, utcnow

if TYPE_CHECKING:
    from .delivery import Delivery

RATINGS = range(1, 6)
MAX_COMMENT = 1000


class Review(Base):
    """One to five stars and, if the customer likes, a few words."""

    __tablename__ = "review"
    __table_args__ = (CheckConstraint("rating BETWEEN 1 AND 5", name="rating"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    # unique: a delivery is reviewed once, however often the form is sent
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), unique=True)
    rating: Mapped[int]
    comment: Mapped[str] = mapped_column(String(MAX_COMMENT), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)

    delivery: Mapped[Delivery] = relationship(back_populates="review")
