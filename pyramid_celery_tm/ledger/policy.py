"""The settings of the ledger, all under one prefix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..settings.faults import did_you_mean

PREFIX = "tasks."

#: Settings with the prefix that are read by others.
_ELSEWHERE = frozenset({"tasks.attempts"})

#: What becomes of ticks whose time went by while no beat ran.
MISSED = ("skip", "once", "all")


@dataclass(frozen=True)
class Policy:
    """When what is looked at, and for how long it is kept; times are in seconds.

    Each field is the setting ``tasks.NAME`` of the application's section.
    """

    #: A committed call that has not reached the broker after this time is sent by the relay.
    unsent_after: float = 5.0
    #: A call that was sent and not finished after this time is sent again, then after twice the time, and so on.
    resend_after: float = 300.0
    #: The longest time between two such sendings.
    resend_ceiling: float = 3600.0
    #: A call that was started so often and never finished is failed: it may be what kills its workers.
    max_starts: int = 5
    #: A call with a longer delay waits in the table, and goes to the broker this long before it is due.
    eta_threshold: float = 60.0
    #: How often the relay looks.
    relay_interval: float = 1.0
    #: How many rows the relay takes at a time.
    relay_batch: int = 100
    #: Whether each worker runs a relay.
    relay: bool = True
    #: How long what went well is kept.
    keep_done: float = 7 * 86400.0
    #: How long what failed is kept.
    keep_failed: float = 30 * 86400.0
    #: What becomes of ticks that beat missed: ``skip``, ``once`` or ``all``.
    missed_ticks: str = "once"
    #: The name of the request's SQLAlchemy session.
    dbsession: str = "dbsession"

    def backoff(self, sends: int) -> float:
        """How long to wait for a call that was sent so often, before it is sent again."""
        return min(self.resend_after * 2.0 ** min(max(sends - 1, 0), 30), max(self.resend_ceiling, self.resend_after))


def read_policy(settings: Mapping[str, Any]) -> tuple[Policy, list[str]]:
    """The policy that an application's settings describe, and what is wrong with them.

    :param settings: the settings of the application, of which those with our prefix are read.
    :returns: the policy, and one line for each fault; with faults the policy is incomplete.
    """
    values, faults = {}, []
    for name, text in settings.items():
        if not name.startswith(PREFIX) or text in (None, "") or name in _ELSEWHERE:
            continue
        read, allowed = _READERS.get(name.removeprefix(PREFIX), (None, ""))
        if read is None:
            near = did_you_mean(name, [PREFIX + known for known in _READERS])
            faults.append(f"[app:main] {name}: is not a setting of the ledger{near}; allowed: {', '.join(_READERS)}")
            continue
        try:
            values[name.removeprefix(PREFIX)] = read(text)
        except ValueError:
            faults.append(f"[app:main] {name} = {text}: allowed: {allowed}")
    return Policy(**values), faults


def _seconds(text: Any) -> float:
    value = float(text)
    if not 0 < value < 1e10:  # nan, too
        raise ValueError
    return value


def _count(text: Any) -> int:
    value = int(str(text))
    if value < 1:
        raise ValueError
    return value


def _switch(text: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    try:
        return words[str(text).lower()]
    except KeyError:
        raise ValueError from None


def _missed(text: Any) -> str:
    if text not in MISSED:
        raise ValueError
    return str(text)


def _name(text: Any) -> str:
    if not str(text).isidentifier():
        raise ValueError
    return str(text)


_SECONDS = (_seconds, "seconds, more than 0")
_COUNT = (_count, "a number, 1 and above")
_READERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    **dict.fromkeys(("unsent_after", "resend_after", "resend_ceiling", "eta_threshold", "relay_interval"), _SECONDS),
    **dict.fromkeys(("keep_done", "keep_failed"), _SECONDS),
    **dict.fromkeys(("max_starts", "relay_batch"), _COUNT),
    "relay": (_switch, "true or false"),
    "missed_ticks": (_missed, ", ".join(MISSED)),
    "dbsession": (_name, "the name of an attribute of the request"),
}
