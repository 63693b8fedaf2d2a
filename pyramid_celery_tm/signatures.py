"""Takes requests and transaction managers out of calls and signatures.

They say which transaction a call belongs to, and must not travel in a message. A request may stand where the source
documents have it, as the first argument (``task.delay(request, 1)``) or as ``request=``; ``tm=`` is an option.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Signature
from celery.utils import uuid

from .current import is_request

#: Options of ``apply_async`` that are ours.
OPTIONS = ("request", "tm")


@dataclass
class Origin:
    """Where a call comes from: given by hand, or ``None``.

    It is copied by reference: Celery makes deep copies of a signature's options, and the copy of a transaction manager
    is another one.
    """

    request: Any = None
    tm: Any = None

    def __bool__(self) -> bool:
        return self.request is not None or self.tm is not None

    def __deepcopy__(self, memo: object) -> Origin:
        return self

    def __json__(self) -> None:
        """Nothing, for what Celery's own code puts into a message: a plain task's, with one of ours behind it."""


class DeferredSignature(Signature):
    """A signature that copies its origin by reference.

    Celery copies options deeply, and the body of a chord gets those of the call: ``chord(...).apply_async(tm=tm)``
    would try to copy a transaction manager with all that takes part in its transaction.
    """

    def clone(self, args: Any = None, kwargs: Any = None, **options: Any) -> Signature:
        """As :meth:`celery.canvas.Signature.clone`."""
        return super().clone(args, kwargs, **by_reference(options))

    partial = clone

    def set(self, immutable: bool | None = None, **options: Any) -> Signature:  # noqa: FBT001 - Celery's
        """As :meth:`celery.canvas.Signature.set`."""
        return super().set(immutable=immutable, **by_reference(options))


def by_reference(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a call with its origin in a form that deep copies share."""
    rest = dict(options)
    origin, _, _ = take_origin((), {}, rest)
    return {**rest, "request": origin} if origin else options


def take_origin(args: Any, kwargs: Any, options: dict[str, Any]) -> tuple[Origin, Any, Any]:
    """Take request and transaction manager out of a call.

    :param options: the options of the call; those that are ours are taken out in place.
    :returns: what was found, positional arguments without, keyword arguments without.
    """
    request, tm = options.pop("request", None), options.pop("tm", None)
    origin = request if isinstance(request, Origin) else Origin(request, tm)
    if tm is not None:
        origin = Origin(origin.request, tm)
    if isinstance(args, Sequence) and args and is_request(args[0]):
        origin, args = Origin(args[0], origin.tm), args[1:]
    if kwargs and is_request(kwargs.get("request")):
        origin = Origin(kwargs["request"], origin.tm)
        kwargs = {name: value for name, value in kwargs.items() if name != "request"}
    return origin, args, kwargs


def without_live_objects(value: Any) -> Any:
    """A copy of callbacks, errbacks, a chain or a chord, without the options that are ours.

    :param value: a signature, or lists and mappings with signatures in them; anything else is returned as it is.
    """
    if isinstance(value, Mapping):
        return {
            name: without_live_objects(item) for name, item in value.items() if not (name in OPTIONS and _is_live(item))
        }
    if isinstance(value, list | tuple):
        return [without_live_objects(item) for item in value]
    return value


def give_ids(signature: dict[str, Any]) -> None:
    """Give a signature, or the members of a canvas, the ids that their calls will have; those that have one keep it.

    :param signature: plain, as it comes out of a message; changed in place.
    """
    kwargs = signature.get("kwargs") or {}
    match signature.get("subtask_type"):
        case "group" | "chain":
            members = kwargs.get("tasks")
        case "chord":
            header = kwargs.get("header")
            members = [*(header if isinstance(header, list) else [header]), kwargs.get("body")]
        case _:
            members = None
            options = signature.get("options") or {}
            signature["options"] = {**options, "task_id": options.get("task_id") or uuid()}
    for member in members or ():
        if isinstance(member, dict):
            give_ids(member)


def _is_live(value: object) -> bool:
    return isinstance(value, Origin) or is_request(value) or hasattr(value, "begin")
