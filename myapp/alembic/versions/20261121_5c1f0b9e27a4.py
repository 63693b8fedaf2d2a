"""The ledger of the tasks

Revision ID: 5c1f0b9e27a4
Revises: d31a4ae83e7e
Create Date: 2026-11-21 15:02:40.118402
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "5c1f0b9e27a4"
down_revision = "d31a4ae83e7e"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "task_record",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("queue", sa.String(length=255), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("starts", sa.Integer(), nullable=False),
        sa.Column("sends", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("eta", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.Column("chord_id", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_record")),
    )
    # Partial ones, small however many rows are finished.
    for name, column, rows in (
        ("ix_task_record_due_at", "due_at", "due_at IS NOT NULL"),
        ("ix_task_record_chord_id", "chord_id", "chord_id IS NOT NULL"),
        ("ix_task_record_failed", "finished_at", "state = 'failed'"),
    ):
        op.create_index(name, "task_record", [column], postgresql_where=sa.text(rows), sqlite_where=sa.text(rows))
    op.create_index("ix_task_record_finished_at", "task_record", ["finished_at"])


def downgrade() -> None:
    for name in ("failed", "finished_at", "chord_id", "due_at"):
        op.drop_index(f"ix_task_record_{name}", "task_record")
    op.drop_table("task_record")
