"""Turns the text of an option into a value. Nothing is evaluated: ``60*60`` is no number here."""

from __future__ import annotations

import json
import math
import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from celery.utils.serialization import STRTOBOOL_DEFAULT_TABLE

from .faults import did_you_mean

#: Celery's own words, and the letters that Pyramid's ``asbool`` knows besides.
BOOLEANS: dict[str, bool] = {**STRTOBOOL_DEFAULT_TABLE, "t": True, "y": True, "f": False, "n": False}
#: What :func:`by_look` takes for a boolean: whole words only, a lone 1 is a number there.
BOOLEAN_WORDS = {word: BOOLEANS[word] for word in ("true", "false", "yes", "no", "on", "off")}
DELIVERY_MODES = {"1": 1, "2": 2, "transient": 1, "persistent": 2}
INTEGER_LOOK = re.compile(r"[+-]?[0-9]+")
NUMBER_LOOK = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
PRODUCT_LOOK = re.compile(r"[0-9.\s]+(\*[0-9.\s]+)+")


@dataclass(frozen=True)
class Type:
    """A type of option.

    :param read: makes the value of the text; raises ``ValueError`` with a predicate ("is not an integer").
    :param allowed: what may be written, for the message.
    """

    read: Callable[[str], Any]
    allowed: str


def as_text(text: str) -> str:
    """The text."""
    return text


def as_bytes(text: str) -> bytes:
    """The text in UTF-8."""
    return text.encode()


def as_bool(text: str) -> bool:
    """A word for true or false."""
    try:
        return BOOLEANS[text.lower()]
    except KeyError:
        raise ValueError("is not a boolean") from None


def as_int(text: str) -> int:
    """Decimal digits."""
    # int() alone also takes "1_000" and the digits of every script.
    if not INTEGER_LOOK.fullmatch(text):
        raise ValueError("is not an integer")
    return int(text)


def as_float(text: str) -> float:
    """A decimal number, finite."""
    if not NUMBER_LOOK.fullmatch(text):
        raise ValueError("is not a number")
    number = float(text)
    if math.isinf(number):
        raise ValueError("is too large a number")
    return number


def as_float_or_inf(text: str) -> float:
    """A decimal number, or the word inf."""
    return math.inf if text.lower() == "inf" else as_float(text)


def as_names(text: str) -> list[str]:
    """Words between whitespace or commas, or a JSON list of strings."""
    if not text.startswith("["):
        return text.replace(",", " ").split()
    names = from_json(text)
    if not all(isinstance(name, str) for name in names):
        raise ValueError("is not a list of strings")
    return list(names)


def as_name_tuple(text: str) -> tuple[str, ...]:
    """Like :func:`as_names`, as a tuple."""
    return tuple(as_names(text))


def as_admins(text: str) -> list[tuple[str, ...]]:
    """``name,address name,address``, the way pyramid_celery reads them."""
    admins = [tuple(admin.split(",")) for admin in text.split()]
    if not all(len(admin) == 2 and all(admin) for admin in admins):
        raise ValueError("is not a list of names and addresses")
    return admins


def as_object(text: str) -> dict[str, Any]:
    """A JSON object."""
    value = from_json(text)
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    return value


def as_list(text: str) -> list[Any]:
    """A JSON list."""
    value = from_json(text)
    if not isinstance(value, list):
        raise ValueError("is not a JSON list")
    return value


def as_json_integer(text: str) -> int:
    """An integer, as JSON."""
    value = from_json(text)
    if type(value) is not int:  # neither true, nor 30.0, nor "30"
        raise ValueError("is not an integer")
    return value


def as_bool_or_object(text: str) -> bool | dict[str, Any]:
    """A word for true or false, or a JSON object."""
    return as_object(text) if text.startswith("{") else as_bool(text)


def as_object_or_name(text: str) -> dict[str, Any] | str:
    """A JSON object, or the dotted name of a Python object (which is not imported here)."""
    if text.startswith(("{", "[", '"')):
        return as_object(text)
    if not all(part.isidentifier() for part in re.split("[.:]", text)):
        raise ValueError("is neither a JSON object nor a dotted name")
    return text


def as_concurrency(text: str) -> int | str:
    """A number of processes, or the word auto."""
    if text.lower() == "auto":
        return "auto"
    number = as_int(text)
    if number < 0:
        raise ValueError("is negative")
    return number


def as_delivery_mode(text: str) -> int:
    """A delivery mode of AMQP, by number or name."""
    # Celery's table says "string", but kombu looks a string up by name and knows no "2".
    try:
        return DELIVERY_MODES[text.lower()]
    except KeyError:
        raise ValueError("is not a delivery mode") from None


def as_priority(text: str) -> int:
    """A priority of AMQP."""
    number = as_int(text)
    if not 0 <= number <= 255:
        raise ValueError("is out of range")
    return number


def as_zone(text: str) -> str:
    """The name of a time zone that this machine knows."""
    try:
        zoneinfo.ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # unknown; a path or worse; a folder of zones, such as "Europe"
        near = did_you_mean(text, zoneinfo.available_timezones())
        raise ValueError(f"is not a known time zone{near}") from None
    return text


def by_look(text: str) -> Any:
    """A value of no declared type: boolean words, numbers and JSON are what they look like, the rest is a string.

    To have a string that looks like something else, write it as JSON: ``"on"``.
    """
    if text.lower() in BOOLEAN_WORDS:
        return BOOLEAN_WORDS[text.lower()]
    if INTEGER_LOOK.fullmatch(text):
        return as_int(text)
    if NUMBER_LOOK.fullmatch(text):
        return as_float(text)
    if PRODUCT_LOOK.fullmatch(text):
        raise ValueError("is not evaluated: write the product")
    return from_json(text) if text == "null" or text.startswith(("{", "[", '"')) else text


def from_json(text: str) -> Any:
    """Strict JSON: a name given twice in an object, NaN and numbers beyond a float are refused as well.

    :raises ValueError: with a predicate that says where it breaks.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_float=as_float, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid json ({error.msg}, character {error.pos + 1})") from None
    except RecursionError:
        raise ValueError("is not valid json (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"is not valid json ({error})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is given twice")
    return dict(pairs)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


STRING = Type(as_text, "any text")
BYTES = Type(as_bytes, "any text")
BOOLEAN = Type(as_bool, "true or false (also yes, no, on, off, 1, 0)")
INTEGER = Type(as_int, "an integer, such as 4 (nothing is evaluated)")
NUMBER = Type(as_float, "a number, such as 4 or 2.5 (nothing is evaluated)")
NUMBER_OR_INF = Type(as_float_or_inf, "a number, such as 4 or 2.5, or inf")
NAMES = Type(as_names, "names between spaces, commas or line ends")
NAME_TUPLE = Type(as_name_tuple, NAMES.allowed)
ADMINS = Type(as_admins, "name,address pairs between spaces or line ends")
JSON_OBJECT = Type(as_object, 'a JSON object, such as {"name": 1}')
JSON_LIST = Type(as_list, 'a JSON list, such as ["name", 1]')
JSON_INTEGER = Type(as_json_integer, "an integer, such as 30")
BOOLEAN_OR_OBJECT = Type(as_bool_or_object, "true, false or a JSON object")
OBJECT_OR_NAME = Type(as_object_or_name, "a JSON object or the dotted name of an object")
CONCURRENCY = Type(as_concurrency, "an integer, such as 4, or auto")
DELIVERY_MODE = Type(as_delivery_mode, "1 or transient, 2 or persistent")
PRIORITY = Type(as_priority, "an integer from 0 to 255")
ZONE = Type(as_zone, "a time zone such as UTC or Europe/Madrid")
ANYTHING = Type(by_look, "text, a number, true or false, or valid JSON")
JSON = Type(from_json, "valid JSON")
