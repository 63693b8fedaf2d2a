"""The text message that asks for a review: what the tasks wrote, tried and did."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .meta import Base, UtcDateTime, new_uuid, utcnow

if TYPE_CHECKING:
    from .delivery import Delivery


class ReviewMessage(Base):
    """A text message to a customer: written first, sent later (see :mod:`myapp.messages`)."""

    __tablename__ = "review_message"
    __table_args__ = (Index("ix_review_message_created_at", "created_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    # The service is told this with every try, so that it can tell a second try from a second message.
    uuid: Mapped[str] = mapped_column(String(32), unique=True, default=new_uuid)
    # unique: a customer is asked once for each delivery, however often the task's message is delivered
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), unique=True)
    phone: Mapped[str] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(Text)
    task_id: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    tries: Mapped[int] = mapped_column(default=0)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(String(500))

    delivery: Mapped[Delivery] = relationship(back_populates="review_message")
