"""Who receives deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .meta import Base

if TYPE_CHECKING:
    from .delivery import Delivery


class Customer(Base):
    """A person with a telephone."""

    __tablename__ = "customer"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    phone: Mapped[str] = mapped_column(String(32))

    deliveries: Mapped[list[Delivery]] = relationship(back_populates="customer")
