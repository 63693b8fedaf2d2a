import copy

import pytest
import transaction
from pyramid.testing import DummyRequest

from pyramid_celery_tm.signatures import Origin, by_reference, take_origin, without_live_objects
from tests.application import add

TM = transaction.TransactionManager(explicit=True)
REQUEST = DummyRequest(tm=TM)


@pytest.mark.parametrize(
    ("args", "kwargs", "options", "request_", "tm", "rest"),
    [
        ((1,), {"y": 2}, {}, None, None, ((1,), {"y": 2})),
        ((REQUEST, 1), None, {}, REQUEST, None, ((1,), None)),
        ([REQUEST, 1], None, {}, REQUEST, None, ([1], None)),
        ((1,), {"request": REQUEST, "y": 2}, {}, REQUEST, None, ((1,), {"y": 2})),
        ((1,), {"request": "not one"}, {}, None, None, ((1,), {"request": "not one"})),
        ((1,), None, {"request": REQUEST}, REQUEST, None, ((1,), None)),
        ((1,), None, {"tm": TM}, None, TM, ((1,), None)),
        ((1,), None, {"request": Origin(REQUEST)}, REQUEST, None, ((1,), None)),
        (None, None, {}, None, None, (None, None)),
    ],
)
def test_request_and_manager_are_taken_out_of_a_call(args, kwargs, options, request_, tm, rest):
    origin, *left = take_origin(args, kwargs, options)
    assert (origin.request, origin.tm) == (request_, tm)
    assert tuple(left) == rest
    assert "request" not in options
    assert "tm" not in options


def test_an_origin_is_copied_by_reference():
    origin = Origin(REQUEST, TM)
    assert copy.deepcopy({"request": origin})["request"] is origin
    assert copy.deepcopy(by_reference({"tm": TM}))["request"].tm is TM
    assert add.s(1).set(tm=TM).options["request"].tm is TM
    assert add.s(1).clone(tm=TM).options["request"].tm is TM


def test_options_without_an_origin_stay_as_they_are():
    options = {"queue": "heavy"}
    assert by_reference(options) is options


def test_live_objects_are_left_out_of_what_travels():
    signature = add.s(REQUEST, 1).set(link=add.s(2).set(tm=TM), queue="heavy")
    travelling = without_live_objects([signature])
    assert travelling[0]["options"] == {"queue": "heavy", "link": without_live_objects(add.s(2))}
    assert without_live_objects({"kwargs": {"request": "a word", "tm": None}}) == {
        "kwargs": {"request": "a word", "tm": None}
    }
