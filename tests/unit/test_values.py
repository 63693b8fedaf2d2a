"""Text becomes a value by its type, and is never evaluated."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_celery_tm.settings import values
from pyramid_celery_tm.settings.values import Type

TYPES = [value for value in vars(values).values() if isinstance(value, Type)]

GOOD = [
    (values.STRING, "60*60", "60*60"),
    (values.BYTES, "ñ", "ñ".encode()),
    *((values.BOOLEAN, text, True) for text in ("true", "TRUE", "yes", "on", "1", "t", "y")),
    *((values.BOOLEAN, text, False) for text in ("false", "False", "no", "off", "0", "f", "n")),
    (values.INTEGER, "4", 4),
    (values.INTEGER, "-1", -1),
    (values.NUMBER, "2.5", 2.5),
    (values.NUMBER, "1e3", 1000.0),
    (values.NUMBER, ".5", 0.5),
    (values.NUMBER_OR_INF, "inf", float("inf")),
    (values.NUMBER_OR_INF, "3", 3.0),
    (values.NAMES, "a b,c\nd, e", ["a", "b", "c", "d", "e"]),
    (values.NAMES, "", []),
    (values.NAMES, '["a", "b"]', ["a", "b"]),
    (values.NAME_TUPLE, "a\nb", ("a", "b")),
    (values.ADMINS, "Ann,ann@x.org\nBob,bob@x.org", [("Ann", "ann@x.org"), ("Bob", "bob@x.org")]),
    (values.JSON_OBJECT, '{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
    (values.JSON_LIST, "[]", []),
    (values.JSON_INTEGER, "30", 30),
    (values.BOOLEAN_OR_OBJECT, '{"a": 1}', {"a": 1}),
    (values.BOOLEAN_OR_OBJECT, "off", False),
    (values.OBJECT_OR_NAME, "myapp.routes:router", "myapp.routes:router"),
    (values.OBJECT_OR_NAME, '{"a": {"queue": "b"}}', {"a": {"queue": "b"}}),
    (values.CONCURRENCY, "4", 4),
    (values.CONCURRENCY, "AUTO", "auto"),
    (values.DELIVERY_MODE, "transient", 1),
    (values.DELIVERY_MODE, "2", 2),
    (values.PRIORITY, "255", 255),
    (values.ZONE, "Europe/Madrid", "Europe/Madrid"),
    *((values.ANYTHING, text, value) for text, value in [("true", True), ("No", False), ("on", True), ("1", 1)]),
    (values.ANYTHING, "2.5", 2.5),
    (values.ANYTHING, '"on"', "on"),
    (values.ANYTHING, "null", None),
    (values.ANYTHING, "[1]", [1]),
    (values.ANYTHING, "mymaster", "mymaster"),
    (values.ANYTHING, "", ""),
    (values.ANYTHING, "127.0.0.1", "127.0.0.1"),
    (values.JSON, "3", 3),
]


@pytest.mark.parametrize(("kind", "text", "value"), GOOD)
def test_a_text_of_the_type_is_read(kind, text, value):
    result = kind.read(text)

    assert result == value
    assert type(result) is type(value)


BAD = [
    *((values.BOOLEAN, text, "is not a boolean") for text in ("", "maybe", "2", "true false")),
    *((values.INTEGER, text, "is not an integer") for text in ("", "four", "4.0", "60*60", "1_000", "٣", "0x10", "4 ")),
    *((values.NUMBER, text, "is not a number") for text in ("", "60*60", "nan", "inf", "1_0.5", "1,5")),
    (values.NUMBER, "1e999", "is too large a number"),
    (values.NUMBER_OR_INF, "nan", "is not a number"),
    (values.NAMES, "[1]", "is not a list of strings"),
    (values.NAMES, "[a]", "is not valid json"),
    (values.ADMINS, "ann@x.org", "is not a list of names and addresses"),
    (values.ADMINS, "Ann,", "is not a list of names and addresses"),
    (values.JSON_OBJECT, "[]", "is not a JSON object"),
    (values.JSON_OBJECT, "{'a': 1}", "is not valid json"),
    (values.JSON_OBJECT, '{"a": 1, "a": 2}', "'a' is given twice"),
    (values.JSON_OBJECT, '{"a": NaN}', "NaN is no number"),
    (values.JSON_OBJECT, '{"a": 1e999}', "is too large a number"),
    (values.JSON_OBJECT, "[" * 100_000, "is not valid json"),
    (values.JSON_LIST, "{}", "is not a JSON list"),
    *((values.JSON_INTEGER, text, "is not an integer") for text in ("true", "30.0", '"30"', "null", "[30]")),
    (values.JSON_INTEGER, "60*60", "is not valid json"),
    (values.BOOLEAN_OR_OBJECT, "maybe", "is not a boolean"),
    (values.OBJECT_OR_NAME, "[]", "is not a JSON object"),
    (values.OBJECT_OR_NAME, "import os", "is neither a JSON object nor a dotted name"),
    *((values.CONCURRENCY, text, "is not an integer") for text in ("four", "60*60", "")),
    (values.CONCURRENCY, "-1", "is negative"),
    (values.DELIVERY_MODE, "3", "is not a delivery mode"),
    (values.PRIORITY, "256", "is out of range"),
    *(
        (values.ZONE, text, "is not a known time zone")
        for text in ("", "Mars", "Europe", "/etc/passwd", "../x", "a" * 999)
    ),
    (values.ZONE, "Europe/Madird", "did you mean 'Europe/Madrid'?"),
    *((values.ANYTHING, text, "is not evaluated") for text in ("60*60", "24 * 3600", "1.5*2")),
    (values.ANYTHING, "{a", "is not valid json"),
]


@pytest.mark.parametrize(("kind", "text", "problem"), BAD)
def test_a_text_of_another_type_is_refused_and_the_problem_told(kind, text, problem):
    with pytest.raises(ValueError, match=problem.replace("?", r"\?")):
        kind.read(text)


def test_json_that_is_nested_beyond_reason_is_refused_and_no_crash():
    with pytest.raises(ValueError, match="nested too deeply"):
        values.from_json('{"a":' * 200_000)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.allowed[:20])
@given(text=st.one_of(st.text(), st.from_regex(r"[\[\]{}\",:0-9a-z*.+-]{0,30}", fullmatch=True)))
def test_any_text_is_a_value_or_refused(kind, text):
    with contextlib.suppress(ValueError):
        kind.read(text)
