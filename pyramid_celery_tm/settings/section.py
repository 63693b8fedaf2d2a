"""A section while it is read: its options, and where the faults go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .faults import Fault, did_you_mean
from .values import Type


class Section:
    """Reads the options of one section; what it cannot read becomes a fault, and reading goes on.

    :param name: the section, without its brackets.
    :param options: its options as they are written.
    :param faults: the list that faults are added to.
    """

    def __init__(self, name: str, options: Mapping[str, str], faults: list[Fault]) -> None:
        self.name = name
        self.options = {option: value.strip() for option, value in options.items()}
        self.faults = faults

    def refuse(self, option: str, problem: str, allowed: str) -> None:
        """Add a fault about an option of this section (or the section, if the option is empty)."""
        self.faults.append(Fault(self.name, option, self.options.get(option), problem, allowed))

    def read(self, kinds: Mapping[str, Type]) -> dict[str, Any]:
        """The values of the options that are there; one that cannot be read is a fault, and absent.

        :param kinds: the type of each option to read.
        """
        values = {}
        for option, kind in kinds.items():
            if option not in self.options:
                continue
            try:
                values[option] = kind.read(self.options[option])
            except ValueError as error:
                # pyramid_celery's words are "is not valid json in section X"; people search for them.
                problem = str(error).replace("is not valid json", f"is not valid json in section {self.name}")
                self.refuse(option, problem, kind.allowed)
        return values

    def require(self, option: str, kind: Type) -> Any:
        """The value of an option that must be there and not empty; ``None`` after a fault."""
        if self.options.get(option):
            return self.read({option: kind}).get(option)
        self.refuse(option, "is empty" if option in self.options else "is missing", kind.allowed)
        return None

    def fold(self, known: Iterable[str]) -> None:
        """Lower the names of the options, and refuse those that are not known or are there twice.

        :param known: the names that this section may have, in lower case.
        """
        known, folded = list(known), dict[str, str]()
        for option, value in self.options.items():
            name = option.lower()
            if name not in known:
                self.refuse(option, f"is not an option here{did_you_mean(name, known)}", ", ".join(known))
            elif name in folded and folded[name] != value:
                self.refuse(option, "is given twice with different values", "one of the two")
            else:
                folded[name] = value
        self.options = folded
