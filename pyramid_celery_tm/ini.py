"""Reads the sections about Celery from an INI file, or from whatever a plaster URI names.

Only the reading is here: variables such as ``%(here)s``, ``[DEFAULT]``, PasteDeploy's ``get``. What the sections mean
is the matter of :mod:`pyramid_celery_tm.settings`. Do not read the section of an application with this: PasteDeploy
treats those otherwise (``use``, ``set``).
"""

from __future__ import annotations

from collections.abc import Mapping
from configparser import (
    ConfigParser,
    DuplicateOptionError,
    DuplicateSectionError,
    InterpolationDepthError,
    InterpolationMissingOptionError,
    MissingSectionHeaderError,
    NoOptionError,
    ParsingError,
)
from configparser import Error as ConfigParserError
from pathlib import Path

import plaster
import plaster_pastedeploy

from .exceptions import SettingsError

#: Every section of the dialect begins so. Look-alikes are read too, so that they can be refused.
PREFIX = "celery"


class _Parser(ConfigParser):
    """Keeps the case of options, and parses ``[DEFAULT]`` like any section: what a section has of its own shows."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        super().__init__(variables, default_section="")

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def read_sections(uri: str, variables: Mapping[str, str] | None = None) -> dict[str, dict[str, str]]:
    """The sections about Celery, interpolated; the names of options keep their case.

    Variables and ``[DEFAULT]`` are there for ``%(name)s`` and for PasteDeploy's ``get name = name``; they do not become
    options of every section. A section that is not in the file is not in the result.

    :param uri: path of an INI file, or a plaster URI: ``development.ini#main``, ``pastedeploy+ini:///path?name=value``.
    :param variables: variables for interpolation; they win over those of the URI, which win over ``[DEFAULT]``. As
        everywhere in plaster they are interpolated themselves: a percent sign in one is written ``%%``.
    :raises pyramid_celery_tm.exceptions.SettingsError: the file is missing or cannot be read.
    """
    loader, name = _loader(uri), _name(uri)
    if isinstance(loader, plaster_pastedeploy.Loader) and loader.filepath is not None:
        return _read_file(name, loader, variables or {})
    wanted = [section for section in loader.get_sections() if section.lower().startswith(PREFIX)]
    return {section: dict(loader.get_settings(section, variables)) for section in wanted}


def _name(uri: str) -> str:
    # For messages: without the query, which holds variables, and so perhaps a password.
    return uri.partition("?")[0]


def _loader(uri: str) -> plaster.ILoader:
    try:
        return plaster.get_loader(uri, protocols=["wsgi"])
    except plaster.InvalidURI:
        problem = "nothing tells the format of the file; allowed: a name ending in .ini, or a plaster URI"
        raise SettingsError(_name(uri), [problem]) from None
    except plaster.PlasterError as error:
        raise SettingsError(_name(uri), [f"{error} Allowed: a name ending in .ini, or a plaster URI"]) from None


def _read_file(
    name: str, loader: plaster_pastedeploy.Loader, variables: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Read an INI file with plaster's variables.

    Not by ``loader.get_settings``: it drops an option that is in ``[DEFAULT]`` too, even where the section says
    otherwise, and it stops at the first fault.
    """
    text = _text(name, Path(loader.filepath))
    plain = _parsed(name, text, _Parser())
    own = {section: plain.options(section) for section in plain.sections() if section.lower().startswith(PREFIX)}
    default = dict(plain.items("DEFAULT", raw=True)) if plain.has_section("DEFAULT") else {}
    file = {"__file__": loader.filepath, "here": str(Path(loader.filepath).parent)}
    return _interpolated(
        name, _parsed(name, text, _Parser({**default, **file, **loader.uri.options, **variables})), own
    )


def _text(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        problem = f"there is no such file ({path})"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 text (byte {error.start})"
    raise SettingsError(name, [problem])


def _parsed(name: str, text: str, parser: _Parser) -> _Parser:
    try:
        parser.read_string(text)
    except (DuplicateSectionError, DuplicateOptionError, ParsingError) as error:
        raise SettingsError(name, _syntax_faults(error)) from None
    return parser


def _syntax_faults(error: DuplicateSectionError | DuplicateOptionError | ParsingError) -> list[str]:
    """A line for each; never the text of the file's line, which may hold a password."""
    match error:
        case DuplicateSectionError():
            return [f"[{error.section}]: line {error.lineno} opens the section again; allowed: one of each name"]
        case DuplicateOptionError():
            return [f"[{error.section}] {error.option}: line {error.lineno} sets it again; allowed: once"]
        case MissingSectionHeaderError():
            return [f"line {error.lineno} stands before any section; allowed: a line such as [celery]"]
        case _:
            allowed = "a section, name = value, or an indented line that continues a value"
            return [f"line {line} cannot be read; allowed: {allowed}" for line, _ in error.errors]


def _interpolated(name: str, parser: _Parser, own: Mapping[str, list[str]]) -> dict[str, dict[str, str]]:
    sections: dict[str, dict[str, str]] = {section: {} for section in own}
    faults = []
    for section, option in ((section, option) for section, options in own.items() for option in options):
        try:
            target, value = _option(parser, section, option)
        except ConfigParserError as error:
            faults.append(f"[{section}] {option}: {_interpolation_problem(error)}")
        else:
            sections[section][target] = value
    if faults:
        raise SettingsError(name, faults)
    return sections


def _option(parser: _Parser, section: str, option: str) -> tuple[str, str]:
    if not option.startswith("get "):
        return option, parser.get(section, option)
    # PasteDeploy: "get broker_url = url" takes the url of [DEFAULT].
    return option[4:].strip(), parser.get(section, parser.get(section, option, raw=True))


def _interpolation_problem(error: ConfigParserError) -> str:
    allowed = "%(name)s of a variable; a percent sign that is meant as such is doubled: %%"
    match error:
        case NoOptionError():
            return "names no variable; allowed after get: the name of one in [DEFAULT], such as here"
        case InterpolationMissingOptionError():
            return f"there is no variable {error.reference}; allowed: {allowed}"
        case InterpolationDepthError():
            return "refers to itself; allowed: variables that end in a value"
    return f"a percent sign begins no variable; allowed: {allowed}"
