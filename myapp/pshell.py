"""What ``pshell development.ini`` offers at its prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import models


def setup(env: dict[str, Any]) -> Iterator[None]:
    """Open a transaction for the prompt; what ``tm.commit()`` has not kept at the end is aborted.

    :param env: the names of the prompt; changed in place.
    """
    request = env["request"]
    request.tm.begin()
    env.update(tm=request.tm, dbsession=request.dbsession, models=models)
    try:
        yield
    finally:
        request.tm.abort()
