"""The look at the schedule when beat starts."""

import pytest
from celery import Celery

from pyramid_celery_tm.schedule_check import warn_of_unknown_tasks


@pytest.fixture
def app():
    app = Celery("scheduled", set_as_current=False)

    @app.task(name="backup", shared=False)
    def backup():
        pass

    return app


def schedule(app, task):
    app.conf.beat_schedule = {"nightly": {"task": task, "schedule": 60}}


def test_a_misspelt_task_is_warned_of_with_the_section_and_the_near_name(app, caplog):
    schedule(app, "bakcup")
    warn_of_unknown_tasks(app)
    assert caplog.messages == ["[celerybeat:nightly] task = bakcup: no task of that name is registered; perhaps backup"]


def test_a_task_that_resembles_none_is_warned_of_with_where_to_look(app, caplog):
    schedule(app, "myapp.tasks.something")
    warn_of_unknown_tasks(app)
    assert caplog.messages[0].endswith("is its module in the setting imports?")


def test_a_registered_task_and_an_empty_schedule_are_passed_over(app, caplog):
    schedule(app, "backup")
    warn_of_unknown_tasks(app)
    app.conf.beat_schedule = None
    warn_of_unknown_tasks(app)
    assert caplog.messages == []
