"""Turns the sections of an INI file into Celery's settings: dicts in, a dict out.

Nothing else of this package is used here and nothing outside is touched, so that every rule can be tried with a dict.
The file itself is read by :mod:`pyramid_celery_tm.ini`.

The dialect is pyramid_celery's: ``[celery]``, ``[celery:NAME]`` for a setting that holds a dict, ``[celerybeat:NAME]``
and ``[celeryroute:TASK]``. Names and types come from Celery's own table, old and new names in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .draft import Draft
from .faults import Fault, did_you_mean
from .section import Section

__all__ = ["CelerySettings", "Fault", "celery_settings"]

#: How the sections of the dialect begin. Of throttles the module that throttles knows the options.
HEADS = ("celery", "celerybeat", "celeryroute", "celerythrottle")


@dataclass(frozen=True)
class CelerySettings:
    """What the sections say.

    :param values: Celery's settings under their new names, typed; ready for ``app.config_from_object``. Beat's schedule
        is in ``beat_schedule``; ``task_routes``, if there, is a dict, or the dotted name of a router.
    :param faults: all that is wrong; unless it is empty, ``values`` is incomplete.
    :param warnings: one line for each thing that works and is hardly wanted.
    """

    values: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def celery_settings(sections: Mapping[str, Mapping[str, str]]) -> CelerySettings:
    """Read all sections, and gather all faults of them.

    :param sections: the options of each section, as they are written. Sections of others are left alone; one whose name
        is nearly one of the dialect is a fault.
    """
    draft = Draft()
    for name, options in sections.items():
        _read(draft, Section(name, options, draft.faults))
    return CelerySettings(draft.finished(), draft.faults, draft.warnings)


def _read(draft: Draft, section: Section) -> None:
    head, colon, rest = section.name.partition(":")
    readers = {"celery": draft.read_dict, "celerybeat": draft.read_beat, "celeryroute": draft.read_route}
    if section.name == "celery":
        draft.read_settings(section)
    elif head in readers and rest.strip():
        readers[head](section, rest.strip())
    elif head in readers:
        section.refuse("", "has no name", f"[{head}:NAME]")
    elif head not in HEADS and (colon or head.lower() in HEADS):
        _refuse_lookalike(section, head)


def _refuse_lookalike(section: Section, head: str) -> None:
    # "[celerybeats:backup]" would be silence: no fault, and no backup.
    near = did_you_mean(head.lower(), HEADS, cutoff=0.85)
    if near:
        section.refuse("", f"begins with an unknown word{near}", ", ".join(HEADS))
