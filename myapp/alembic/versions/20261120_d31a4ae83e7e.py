"""Deliveries, messages, reviews, backups

Revision ID: d31a4ae83e7e
Revises: nothing
Create Date: 2026-11-20 19:51:00.385235
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "d31a4ae83e7e"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backup",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("path", sa.String(length=1000), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backup")),
    )
    op.create_index(op.f("ix_backup_made_at"), "backup", ["made_at"])

    op.create_table(
        "customer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("phone", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer")),
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.String(length=32), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.Column("contents", sa.String(length=200), nullable=False),
        sa.Column(
            "state",
            sa.Enum("open", "completed", name="state", native_enum=False, create_constraint=True, length=16),
            nullable=False,
        ),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reviewed", sa.Boolean(), nullable=False),
        sa.Column("review_task_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_delivery_customer_id_customer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("uuid", name=op.f("uq_delivery_uuid")),
    )
    op.create_index(op.f("ix_delivery_customer_id"), "delivery", ["customer_id"])
    op.create_index(op.f("ix_delivery_state"), "delivery", ["state"])

    op.create_table(
        "review",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=False),
        sa.Column("comment", sa.String(length=1000), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name=op.f("ck_review_rating")),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_review_delivery_id_delivery")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
        sa.UniqueConstraint("delivery_id", name=op.f("uq_review_delivery_id")),
    )
    op.create_table(
        "review_message",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.String(length=32), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("phone", sa.String(length=32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(length=500), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_review_message_delivery_id_delivery")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_message")),
        sa.UniqueConstraint("delivery_id", name=op.f("uq_review_message_delivery_id")),
        sa.UniqueConstraint("uuid", name=op.f("uq_review_message_uuid")),
    )
    op.create_index("ix_review_message_created_at", "review_message", ["created_at"])


def downgrade() -> None:
    op.drop_index("ix_review_message_created_at", "review_message")

    op.drop_table("review_message")
    op.drop_table("review")
    op.drop_index(op.f("ix_delivery_state"), "delivery")
    op.drop_index(op.f("ix_delivery_customer_id"), "delivery")

    op.drop_table("delivery")
    op.drop_table("customer")
    op.drop_index(op.f("ix_backup_made_at"), "backup")

    op.drop_table("backup")
