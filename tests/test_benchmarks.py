"""The benchmarks still measure what they say, in sizes that say nothing about time."""

import math

import pytest

from benchmarks.__main__ import MEASURES
from benchmarks.measure import TINY, Result, interleave
from benchmarks.report import report
from benchmarks.surroundings import Surroundings


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_yields_a_number_for_each_peer_and_round(name, databases, redis_url):
    results = list(MEASURES[name](Surroundings(databases, redis_url), TINY))
    assert results
    for result in results:
        assert result.base in result.values
        numbers = [number for values in result.values.values() for number in values]
        assert all(number > 0 and math.isfinite(number) for number in numbers)
        assert {len(values) for values in result.values.values()} == {len(result.values[result.base])}


def test_peers_take_turns_and_another_one_is_first_in_each_round():
    turns = []
    arms = {name: lambda name=name: turns.append(name) or float(len(turns)) for name in "ab"}
    values = interleave(arms, 2)
    assert "".join(turns) == "ab" + "ab" + "ba"
    assert values == {"a": [3.0, 6.0], "b": [4.0, 5.0]}


def test_a_ratio_compares_values_of_the_same_round():
    result = Result("a title", "ms", "one", {"one": [1.0, 10.0], "other": [2.0, 5.0]})
    assert result.ratios() == {"other": [2.0, 0.5]}


def test_the_report_begins_with_ratios_and_ends_with_the_machine():
    result = Result("a title", "ms", "one", {"one": [1.0, 10.0], "other": [2.0, 5.0]}, ["a note"])
    lines = report([result], "servers: some").splitlines()
    assert lines[0].startswith("RATIOS")
    assert "  other                                            1.25   (0.50 to 2.00)" in lines
    assert "  a note" in lines
    assert lines[-2].startswith("machine: ")
    assert lines[-1] == "servers: some"
