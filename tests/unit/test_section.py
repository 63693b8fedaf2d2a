"""A section is read to its end, whatever is wrong in it."""

from __future__ import annotations

from pyramid_celery_tm.settings.section import Section
from pyramid_celery_tm.settings.values import BOOLEAN, INTEGER, JSON_OBJECT, STRING


def section(**options):
    return Section("celery", options, [])


def problems(section):
    return [(fault.option, fault.problem) for fault in section.faults]


def test_the_values_of_options_are_read_without_the_space_around_them():
    assert section(a=" 4\n").read({"a": INTEGER}) == {"a": 4}


def test_an_option_that_cannot_be_read_is_absent_and_a_fault_and_the_next_is_read():
    read = section(a="four", b="yes", c="maybe")

    assert read.read({"a": INTEGER, "b": BOOLEAN, "c": BOOLEAN, "d": INTEGER}) == {"b": True}
    assert problems(read) == [("a", "is not an integer"), ("c", "is not a boolean")]


def test_a_fault_of_json_names_the_section_as_pyramid_celery_does():
    read = section(a="{")
    read.read({"a": JSON_OBJECT})

    assert read.faults[0].problem.startswith("is not valid json in section celery (")


def test_a_required_option_must_be_there_and_not_empty():
    read = section(a="", c="x")

    assert [read.require(option, STRING) for option in "abc"] == [None, None, "x"]
    assert problems(read) == [("a", "is empty"), ("b", "is missing")]


def test_folding_lowers_names_and_refuses_unknown_ones_with_the_near_name():
    read = section(TASK="a", scheduel="b")
    read.fold(["task", "schedule"])

    assert read.options == {"task": "a"}
    assert problems(read) == [("scheduel", "is not an option here, did you mean 'schedule'?")]
    assert read.faults[0].allowed == "task, schedule"


def test_folding_refuses_an_option_that_says_two_things():
    read = section(task="a", Task="b", type="c", Type="c")
    read.fold(["task", "type"])

    assert read.options == {"task": "a", "type": "c"}
    assert problems(read) == [("Task", "is given twice with different values")]
