"""A route sends a task to a queue, or a fault tells what is wrong with it."""

from __future__ import annotations

import pytest

from pyramid_celery_tm.settings.routes import read_route
from pyramid_celery_tm.settings.section import Section


def read(**options):
    section = Section("celeryroute:myapp.tasks.report", options, [])
    return read_route(section), [(fault.option, fault.problem) for fault in section.faults]


def test_a_route_is_read_with_its_types():
    route, faults = read(queue="heavy", exchange="e", Routing_Key="k", priority="7", delivery_mode="transient")

    assert faults == []
    assert route == {"queue": "heavy", "exchange": "e", "routing_key": "k", "priority": 7, "delivery_mode": 1}


@pytest.mark.parametrize(("options", "problem"), [({}, "is missing"), ({"queue": " "}, "is empty")])
def test_a_route_must_name_a_queue(options, problem):
    assert read(**options)[1] == [("queue", problem)]


def test_all_faults_of_a_route_are_told():
    assert read(queu="heavy", priority="high", exchange="")[1] == [
        ("queu", "is not an option here, did you mean 'queue'?"),
        ("queue", "is missing"),
        ("priority", "is not an integer"),
        ("exchange", "is empty"),
    ]
