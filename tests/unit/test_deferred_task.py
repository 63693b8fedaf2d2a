import pytest
import transaction
from celery import chain, chord, group
from celery.result import AsyncResult
from pyramid.testing import DummyRequest

from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.exceptions import NotSerializable, ResultNotAvailable
from tests.application import add, background, bound_add, heavy, plain, queued, total, worker


@pytest.fixture
def sent(redis_url):
    return lambda: [(message["task"], message["args"]) for message in queued(redis_url)]


FORMS = {
    "delay": lambda request: add.delay(1, 2),
    "delay with a keyword": lambda request: add.delay(1, y=2),
    "delay with the request": lambda request: add.delay(request, 1, 2),
    "delay with the request by keyword": lambda request: add.delay(1, 2, request=request),
    "apply_async": lambda request: add.apply_async((1, 2)),
    "apply_async with a list": lambda request: add.apply_async([1, 2]),
    "apply_async with args by keyword": lambda request: add.apply_async(args=(1, 2)),
    "apply_async with the request": lambda request: add.apply_async((request, 1, 2)),
    "apply_async with args by keyword and the request": lambda request: add.apply_async(args=(request, 1, 2)),
    "apply_async with args, kwargs and the request": lambda request: add.apply_async(
        args=(request, 1), kwargs={"y": 2}
    ),
    "apply_async with the request among kwargs": lambda request: add.apply_async(
        kwargs={"x": 1, "y": 2, "request": request}
    ),
    "apply_async with the option request": lambda request: add.apply_async((1, 2), request=request),
    "apply_async with the option tm": lambda request: add.apply_async((1, 2), tm=request.tm),
    "s().delay": lambda request: add.s(1, 2).delay(),
    "s(request).delay": lambda request: add.s(request, 1, 2).delay(),
    "s().apply_async with tm": lambda request: add.s(1, 2).apply_async(tm=request.tm),
    "s().set": lambda request: add.s(1, 2).set(tm=request.tm).apply_async(),
    "si().apply_async": lambda request: add.si(1, 2).apply_async(),
    "signature": lambda request: add.signature((1, 2)).apply_async(),
    "signature with the request": lambda request: add.signature((request, 1, 2), immutable=True).apply_async(),
    "by name in the app": lambda request: celery_app.signature("add", (1, 2)).apply_async(),
    "bound": lambda request: bound_add.delay(1, 2),
    "bound with the request": lambda request: bound_add.delay(request, 1, 2),
    "group": lambda request: group([add.s(1, 2)])(),
    "group.delay": lambda request: group([add.s(1, 2)]).delay(),
    "group with tm": lambda request: group([add.s(1, 2)]).apply_async(tm=request.tm),
    "group with the request": lambda request: group([add.s(request, 1, 2)]).apply_async(),
    "chain": lambda request: chain(add.s(1, 2), add.s(3))(),
    "chain by pipe": lambda request: (add.s(1, 2) | add.s(3)).delay(),
    "chain with the request": lambda request: chain(add.s(request, 1, 2), add.s(request, 3)).delay(),
    "chain with tm": lambda request: chain(add.s(1, 2), add.s(3)).apply_async(tm=request.tm),
    "link": lambda request: add.apply_async((1, 2), link=add.s(3), link_error=add.s(4)),
    "link with the request": lambda request: add.apply_async(
        (1, 2), link=add.s(request, 3), link_error=[add.s(request, 4)]
    ),
    "chord": lambda request: chord([add.s(1, 2)])(total.s()),
    "chord with the request": lambda request: chord([add.s(request, 1, 2)], total.s(request)).apply_async(),
    "chord with tm": lambda request: chord([add.s(1, 2)], total.s()).apply_async(tm=request.tm),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_call_leaves_at_the_commit(form, request_, tm, sent):
    FORMS[form](request_)
    assert sent() == []
    tm.commit()
    [(name, args)] = sent()
    assert name in ("add", "bound_add")
    assert args in ([1, 2], [1], [])


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_call_leaves_when_the_transaction_aborts(form, request_, tm, redis_client):
    FORMS[form](request_)
    tm.abort()
    assert redis_client.keys() == []


def test_chunks_leave_at_the_commit(tm, sent):
    add.chunks([(1, 1), (2, 2), (3, 3)], 2).apply_async()
    assert sent() == []
    tm.commit()
    assert [name for name, _ in sent()] == ["celery.starmap", "celery.starmap"]


def test_starmap_of_a_plain_task_leaves_at_once(tm, sent):
    plain.starmap([(1,), (2,)]).apply_async()
    assert [name for name, _ in sent()] == ["celery.starmap"]


def test_a_plain_celery_task_leaves_at_once(tm, sent):
    plain.delay(1)
    assert sent() == [("plain", [1])]


def test_without_a_transaction_a_call_leaves_at_once(request_, sent):
    result = add.delay(1, 2)
    assert sent() == [("add", [1, 2])]
    assert isinstance(result, AsyncResult)


def test_without_a_request_a_call_leaves_at_once(registry, sent):
    add.delay(1, 2)
    assert sent() == [("add", [1, 2])]


def test_a_script_names_its_transaction_manager(registry, sent):
    tm = transaction.TransactionManager(explicit=True)
    with tm:
        add.apply_async((1, 2), tm=tm)
        assert sent() == []
    assert sent() == [("add", [1, 2])]


def test_the_request_given_by_hand_wins_over_the_current_one(tm, sent):
    other = DummyRequest(tm=transaction.TransactionManager(explicit=True))
    with other.tm:
        add.delay(other, 1, 2)
    assert sent() == [("add", [1, 2])]
    tm.abort()


def test_a_request_whose_transaction_is_over_sends_at_once(request_, tm, sent):
    tm.commit()
    add.delay(request_, 1, 2)
    assert sent() == [("add", [1, 2])]


def test_calls_leave_in_their_order(tm, sent):
    for number in range(20):
        add.delay(number)
    tm.commit()
    assert sent() == [("add", [number]) for number in range(20)]


def test_the_result_has_its_final_id_at_once(tm, redis_url):
    result = add.delay(1, 2)
    given = add.apply_async((3, 4), task_id="mine")
    tm.commit()
    assert [message["id"] for message in queued(redis_url)] == [result.id, given.id]
    assert given.id == "mine"


def test_waiting_for_a_result_in_its_own_transaction_raises_at_once(tm):
    result = add.delay(1, 2)
    with pytest.raises(ResultNotAvailable, match="still open"):
        result.get()
    tm.abort()
    with pytest.raises(ResultNotAvailable, match="did not commit"):
        result.wait(timeout=1)


@pytest.mark.parametrize("wrong", [(), (1, 2, 3)])
def test_wrong_arguments_raise_at_the_call(tm, sent, wrong):
    with pytest.raises(TypeError, match=r"add\(\)"):
        add.delay(*wrong)
    with pytest.raises(TypeError, match=r"bound_add\(\)"):
        bound_add.delay(*wrong)
    tm.commit()
    assert sent() == []


def test_wrong_arguments_raise_at_a_call_that_leaves_at_once(registry):
    with pytest.raises(TypeError, match=r"add\(\)"):
        add.delay()


def test_an_argument_that_cannot_travel_raises_at_the_call_and_names_task_and_type(tm, sent):
    with pytest.raises(NotSerializable, match=r"task add .*type Thing"):
        add.delay(type("Thing", (), {})(), 2)
    tm.commit()
    assert sent() == []


def test_arguments_are_frozen_at_the_call(tm, sent):
    numbers = [1, 2]
    total.delay(numbers)
    numbers.append(3)
    tm.commit()
    assert sent() == [("total", [[1, 2]])]


def test_headers_are_frozen_and_checked_at_the_call(tm, redis_url):
    headers = {"colours": ["red"]}
    add.apply_async((1,), headers=headers)
    headers["colours"].append("blue")
    with pytest.raises(NotSerializable, match="task add"):
        add.apply_async((1,), headers={"x": object()})
    tm.commit()
    [message] = queued(redis_url)
    assert message["colours"] == ["red"]


def test_a_time_may_be_given_as_text(tm, redis_url):
    add.apply_async((1,), eta="2030-01-01T00:00:00+00:00")
    tm.commit()
    assert queued(redis_url)[0]["eta"] == "2030-01-01T00:00:00+00:00"


BEHIND_PLAIN = {
    "chain": lambda request: chain(plain.s(1), add.s(request, 2)).delay(),
    "link": lambda request: plain.apply_async((1,), link=add.s(request)),
    "chord": lambda request: chord([plain.s(1)], total.s(request)).apply_async(),
}


@pytest.mark.parametrize("kind", BEHIND_PLAIN)
def test_a_request_given_to_a_task_behind_a_plain_one_does_not_travel(kind, request_, sent):
    BEHIND_PLAIN[kind](request_)
    assert sent() == [("plain", [1])]


CANVAS = {
    "group": lambda: group(add.s(1, 1), add.s(2, 2))(),
    "chain": lambda: chain(add.s(1, 1), add.s(1), add.s(1))(),
    "chord": lambda: chord([add.s(1, 1), add.s(2, 2)])(total.s()),
}


@pytest.mark.parametrize("kind", CANVAS)
def test_waiting_for_a_canvas_in_its_own_transaction_raises_at_once(tm, kind):
    result = CANVAS[kind]()
    with pytest.raises(ResultNotAvailable, match="still open"):
        result.get()


def test_options_survive(tm, redis_url):
    add.apply_async(
        (1, 2), queue="background", priority=3, headers={"colour": "red"}, shadow="other", link=add.s(1),
        link_error=[add.s(2)], soft_time_limit=5, time_limit=7, argsrepr="(...)", ignore_result=True,
    )  # fmt: skip
    tm.commit()
    [message] = queued(redis_url, "background", "background\x06\x163")
    assert message["colour"] == "red"
    assert message["shadow"] == "other"
    assert message["timelimit"] == [7, 5]
    assert message["argsrepr"] == "(...)"
    assert message["ignore_result"] is True
    assert message["envelope"]["properties"]["priority"] == 3
    assert [link["args"] for link in message["embed"]["callbacks"]] == [[1]]
    assert [link["args"] for link in message["embed"]["errbacks"]] == [[2]]


def test_an_own_producer_is_not_kept_until_the_commit(tm, sent):
    with celery_app.producer_or_acquire() as producer:
        add.apply_async((1, 2), producer=producer, publisher=producer)
    with celery_app.connection_for_write() as connection:
        add.apply_async((3, 4), connection=connection)
    tm.commit()
    assert sent() == [("add", [1, 2]), ("add", [3, 4])]


def test_a_time_limit_below_the_soft_one_is_refused(tm, monkeypatch):
    task = type(celery_app.tasks["add"])
    monkeypatch.setattr(task, "time_limit", 1)
    monkeypatch.setattr(task, "soft_time_limit", 2)
    with pytest.raises(ValueError, match="soft_time_limit"):
        add.delay(1)


def test_tasks_are_routed_by_their_kind(tm, redis_url):
    heavy.delay(1)
    background.delay()
    add.delay(1)
    heavy.apply_async(queue="celery")
    tm.commit()
    assert [message["task"] for message in queued(redis_url, "heavy")] == ["heavy"]
    assert [message["task"] for message in queued(redis_url, "background")] == ["background"]
    assert [message["task"] for message in queued(redis_url, "celery")] == ["add", "heavy"]


def test_apply_leaves_the_request_out(request_):
    assert add.apply((request_, 1, 2)).get() == 3


def test_a_result_can_be_promised_to_a_function(registry):
    seen = []
    result = add.delay(1, 2)
    result.then(seen.append)
    with worker():
        assert result.get(timeout=20) == 3
    assert seen == [result]
