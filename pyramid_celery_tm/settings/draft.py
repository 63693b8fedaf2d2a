"""Celery's settings while the sections are read one after the other."""

from __future__ import annotations

from typing import Any

from .faults import Fault, did_you_mean
from .names import near_setting, setting_named, type_of
from .routes import read_route
from .schedules import read_entry
from .section import Section
from .values import ANYTHING, BOOLEAN, BOOLEAN_OR_OBJECT, INTEGER, JSON_OBJECT, OBJECT_OR_NAME

#: Types of settings that may have a section of their own.
DICTS = (JSON_OBJECT, BOOLEAN_OR_OBJECT, OBJECT_OR_NAME, ANYTHING)
#: What transports count with, whatever else their options are.
TRANSPORT_INTEGERS = ("visibility_timeout", "max_retries")
SERIALIZERS = ("accept_content", "result_accept_content", "task_serializer", "result_serializer", "event_serializer")
RUNS_CODE = "lets whoever reaches the broker run code in a worker"
UNWANTED = {
    "pickle": RUNS_CODE,
    "application/x-python-serialize": RUNS_CODE,
    "yaml": "no message needs it",
    "application/x-yaml": "no message needs it",
}


class Draft:
    """Gathers values, faults and warnings; the methods ``read_*`` take a section each."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.faults: list[Fault] = []
        self.warnings: list[str] = []
        self._places: dict[str, str] = {}
        self._beat: dict[str, dict[str, Any]] = {}
        self._routes: dict[str, dict[str, Any]] = {}

    def finished(self) -> dict[str, Any]:
        """The values, with the schedule and the routes in their places."""
        self._warn_of_content()
        if self._beat:
            self.values["beat_schedule"] = self._beat
        if self._routes:
            self._finish_routes()
        return self.values

    def read_settings(self, section: Section) -> None:
        """Read ``[celery]``."""
        for option in section.options:
            setting = setting_named(option)
            if option.lower() == "use_celeryconfig":
                self._refuse_celeryconfig(section, option)
            elif setting is None:
                section.refuse(option, f"is not a setting of Celery{near_setting(option)}", "a setting of Celery")
            elif setting == "beat_schedule":
                section.refuse(option, "is not read here", "a section [celerybeat:NAME] for each entry")
            else:
                for value in section.read({option: type_of(setting)}).values():
                    self._put(section, option, setting, value)

    def read_dict(self, section: Section, name: str) -> None:
        """Read ``[celery:NAME]``, a setting whose value is a dict."""
        setting = setting_named(name)
        if setting is None:
            near = near_setting(name)
            section.refuse(
                "", f"is not about a setting of Celery{near}", "[celery:NAME] of a setting that holds a dict"
            )
        elif setting == "beat_schedule" or type_of(setting) not in DICTS:
            section.refuse("", f"is about {setting}, which is not set in a section of its own", "an option of [celery]")
        else:
            self._put(section, "", setting, section.read(dict.fromkeys(section.options, ANYTHING)))

    def read_beat(self, section: Section, name: str) -> None:
        """Read ``[celerybeat:NAME]``, an entry of beat's schedule."""
        if name in self._beat:
            section.refuse("", "is there twice", "one section for each name")
        self._beat[name] = read_entry(section, self.warnings)

    def read_route(self, section: Section, task: str) -> None:
        """Read ``[celeryroute:TASK]``."""
        if task in self._routes:
            section.refuse("", "is there twice", "one section for each task")
        self._routes[task] = read_route(section)

    def _put(self, section: Section, option: str, setting: str, value: Any) -> None:
        """Keep a setting, unless it was given before under another name and with another value."""
        place = f"[{section.name}] {option}".strip()
        if self._places.setdefault(setting, place) != place and self.values[setting] != value:
            section.refuse(option, f"says otherwise than {self._places[setting]}, the same setting", "one of the two")
            return
        self.values[setting] = value
        if setting.endswith("transport_options"):
            self._check_transport(section, option, value)

    def _check_transport(self, section: Section, option: str, value: dict[str, Any]) -> None:
        for name, number in value.items():
            if name in TRANSPORT_INTEGERS and type(number) is not int:
                section.refuse(option or name, f"has a {name} that is not an integer", f"for {name} {INTEGER.allowed}")
            # Any other option may be one of the transport's own, so this is not a fault.
            elif name not in TRANSPORT_INTEGERS and (near := did_you_mean(name, TRANSPORT_INTEGERS, cutoff=0.85)):
                self.warnings.append(f"[{section.name}] {name} is handed on as it is{near}")

    def _finish_routes(self) -> None:
        others = self.values.get("task_routes", {})
        for task, route in self._routes.items():
            if isinstance(others, str) or others.get(task, route) != route:
                problem = f"says otherwise than {self._places['task_routes']}"
                self.faults.append(Fault(f"celeryroute:{task}", "", None, problem, "one of the two"))
        if not isinstance(others, str):
            self.values["task_routes"] = {**others, **self._routes}

    def _refuse_celeryconfig(self, section: Section, option: str) -> None:
        if section.read({option: BOOLEAN}).get(option):
            section.refuse(option, "asks for a Python module, and none is run", "false, with all settings in [celery]")

    def _warn_of_content(self) -> None:
        for setting in SERIALIZERS:
            value = self.values.get(setting, ())
            for content in [value] if isinstance(value, str) else value:
                if content in UNWANTED:
                    self.warnings.append(f"{self._places[setting]} has {content}: {UNWANTED[content]}; json is enough")
