"""The pages: each view reads, or calls a task and redirects; none talks to another service."""

from __future__ import annotations

import re

from pyramid.request import Request

TASK_ID = re.compile(r"[0-9a-f-]{36}")


def task_id_of(request: Request) -> str | None:
    """:return: the task that the form before this page has called, as its redirect says; None if it says no such id."""
    given = request.GET.get("task", "")
    return given if TASK_ID.fullmatch(given) else None
