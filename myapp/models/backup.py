"""The backups that were made. The file may lie on another machine; this row is what the pages can know of it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from .meta import Base, UtcDateTime, utcnow


class Backup(Base):
    """A finished copy of the database."""

    __tablename__ = "backup"

    id: Mapped[int] = mapped_column(primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    path: Mapped[str] = mapped_column(String(1000))
    size: Mapped[int] = mapped_column(BigInteger)
    """Bytes."""
    made_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, index=True)
