import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pyramid_celery_tm.exceptions import NotSerializable
from pyramid_celery_tm.freeze import freeze


def test_a_value_comes_back_as_the_worker_will_see_it():
    value = {"a": [1, (2, 3)], "day": datetime(2026, 1, 1, tzinfo=UTC), "id": uuid.UUID(int=1), "sum": Decimal("1.5")}
    frozen = freeze("task", value, "json")
    assert frozen == {**value, "a": [1, [2, 3]]}
    assert frozen["a"] is not value["a"]


def test_what_cannot_travel_is_an_error_that_names_the_task_and_the_type():
    with pytest.raises(NotSerializable, match=r"task send .* json cannot carry: Object of type set"):
        freeze("send", {1, 2}, "json")
