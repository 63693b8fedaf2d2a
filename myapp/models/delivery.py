"""What is brought to a customer, and the one thing that can happen to it."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Enum, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .meta import Base, UtcDateTime, new_uuid, utcnow

if TYPE_CHECKING:
    from .customer import Customer
    from .review import Review
    from .review_message import ReviewMessage


class DeliveryState(enum.StrEnum):
    """Where a delivery stands."""

    open = "open"
    """On its way."""
    completed = "completed"
    """Handed over; this is final."""


class AlreadyCompleted(Exception):
    """The delivery was completed before; nothing was changed."""


class Delivery(Base):
    """A parcel on its way to a customer."""

    __tablename__ = "delivery"

    id: Mapped[int] = mapped_column(primary_key=True)
    # What the world may know: the review page is found by it, so it must not be guessable as a number is.
    uuid: Mapped[str] = mapped_column(String(32), unique=True, default=new_uuid)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id"), index=True)
    contents: Mapped[str] = mapped_column(String(200), default="")
    state: Mapped[DeliveryState] = mapped_column(
        Enum(DeliveryState, native_enum=False, length=16, create_constraint=True, name="state"),
        default=DeliveryState.open,
        index=True,
    )
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reviewed: Mapped[bool] = mapped_column(default=False)
    # The task that was asked to write to the customer. It is kept here, with the completion, so that the page can
    # name it before any worker has seen it.
    review_task_id: Mapped[str | None] = mapped_column(String(36))

    customer: Mapped[Customer] = relationship(back_populates="deliveries")
    review: Mapped[Review | None] = relationship(back_populates="delivery")
    review_message: Mapped[ReviewMessage | None] = relationship(back_populates="delivery")

    @property
    def is_completed(self) -> bool:
        """Whether the delivery was handed over."""
        return self.state is DeliveryState.completed

    def complete(self) -> None:
        """Hand the delivery over.

        :raises AlreadyCompleted: somebody was faster; read the row with a lock to be sure that nobody can be.
        """
        if self.is_completed:
            raise AlreadyCompleted(f"delivery {self.id} was completed at {self.completed_at}")
        self.state = DeliveryState.completed
        self.completed_at = utcnow()
