"""What is wrong with an option of an INI file, told in one line that never repeats a password."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

#: Options whose whole value is a secret.
SECRET_OPTION = re.compile(r"pass|secret|token|credential|access_key", re.IGNORECASE)
#: ``//user:password@host``. Up to the last "@", because people do not encode the "@" and "/" of a password; without the
#: scheme, because a URL on a line of its own is an option called "redis" to a parser of INI files.
URL_PASSWORD = re.compile(r"(//[^\s:/]*:).*@", re.DOTALL)
#: ``redis://:password``, where the host was forgotten.
BARE_PASSWORD = re.compile(r"(//:)[^@]+$", re.DOTALL)
#: ``"password": "..."`` in JSON, also in broken JSON, and ``password=...`` in the query of a URL.
NAMED_PASSWORD = re.compile(
    r"""((?:pass|secret|token|credential|access_key)\w*["']?\s*[:=]\s*)("[^"]*"?|'[^']*'?|[^\s,;&}]+)""",
    re.IGNORECASE,
)
LONGEST_QUOTE = 200


@dataclass(frozen=True)
class Fault:
    """One fault of the configuration; ``str()`` of it is the line to show.

    :param section: the section, without its brackets.
    :param option: the option as it is written there; empty where the section itself is at fault.
    :param value: what the option says, or ``None`` where there is nothing to show. Passwords in it are masked.
    :param problem: what is wrong, as a predicate: "is not an integer".
    :param allowed: what may stand there.
    """

    section: str
    option: str
    value: str | None
    problem: str
    allowed: str

    def __post_init__(self) -> None:
        # Masked here, not in str(): repr() and loggers see the object too.
        if self.value is not None:
            object.__setattr__(self, "value", masked(self.option, self.value))

    def __str__(self) -> str:
        place = f"[{self.section}]"
        if self.option:
            place += f" {self.option}"
        if self.value is not None:
            place += f" = {quoted(self.value)}"
        return f"{place}: {self.problem}; allowed: {self.allowed}"


def masked(option: str, value: str) -> str:
    """The value without its passwords.

    :param option: the name of the option, which tells whether all of the value is a secret.
    :param value: what the option says.
    """
    if SECRET_OPTION.search(option):
        return "***"
    value = URL_PASSWORD.sub(r"\1***@", value)
    value = BARE_PASSWORD.sub(r"\1***", value)
    return NAMED_PASSWORD.sub(r"\1***", value)


def quoted(value: str) -> str:
    """The value on one line, between quotes, cut when it is long."""
    short = value if len(value) <= LONGEST_QUOTE else value[:LONGEST_QUOTE] + "..."
    return repr(short)


def did_you_mean(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """A phrase to put after a problem: ``", did you mean 'hours'?"``, or nothing when no name is near.

    :param name: what was written.
    :param names: what exists.
    :param cutoff: how near, from 0 to 1 (the same).
    """
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return f", did you mean {near[0]!r}?" if near else ""
