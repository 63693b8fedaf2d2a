import pytest
from celery import current_app, shared_task
from kombu import Queue
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationConflictError

from pyramid_celery_tm.app import apply_settings, celery_app, configure, route_by_kind
from pyramid_celery_tm.exceptions import SettingsError
from tests.application import add, make_config

INI = """\
[app:main]
use = call:tests.application:nothing

[celery]
BROKER_URL = {broker}
result_backend = redis://localhost:1/3
CELERY_IMPORTS =
    tests.application
{worker_concurrency}

[celery:broker_transport_options]
visibility_timeout = 43200

[celerybeat:adding]
task = add
type = timedelta
schedule = {{"hours": 1}}
args = [1]

[celeryroute:heavy]
queue = elsewhere
"""


@pytest.fixture
def ini(tmp_path):
    def write(broker="redis://localhost:1/3", more="", worker_concurrency="worker_concurrency = 4"):
        path = tmp_path / "app.ini"
        path.write_text(INI.format(broker=broker, worker_concurrency=worker_concurrency) + more)
        return str(path)

    return write


def test_the_directive_configures_celery_from_the_ini_file(ini):
    path = ini()
    with make_config() as config:
        config.configure_celery(path)
    conf = celery_app.conf
    assert conf.broker_url == "redis://localhost:1/3"
    assert list(conf.imports) == ["tests.application"]
    assert conf.worker_concurrency == 4
    assert conf.broker_transport_options["visibility_timeout"] == 43200
    assert list(conf.beat_schedule) == ["adding"]
    assert conf["PYRAMID_REGISTRY"] is config.registry
    assert conf["PYRAMID_INI"] == path


def test_the_whole_global_config_carries_variables(ini, tmp_path):
    path = ini("redis://localhost:1/%(database)s")
    with make_config() as config:
        config.configure_celery({"__file__": path, "here": str(tmp_path), "database": "7"})
    assert celery_app.conf.broker_url == "redis://localhost:1/7"


def test_all_faults_of_the_file_come_at_once_when_it_is_read(ini):
    path = ini(more="\n[celerybeat:wrong]\ntask = add\ntype = integer\nschedule = -1\n\n[celery:nonsense]\na = b\n")
    with pytest.raises(SettingsError) as caught:
        make_config().configure_celery(path)
    assert len(caught.value.faults) == 2
    assert "celerybeat:wrong" in str(caught.value)
    assert path in str(caught.value)


def test_warnings_are_logged_with_the_file(ini, caplog):
    make_config().configure_celery(ini(more='\n[celerybeat:w]\ntask = add\ntype = crontab\nschedule = {"hour": 0}\n'))
    assert "app.ini" in caplog.text
    assert "celerybeat:w" in caplog.text


def test_a_wrong_site_url_is_a_fault_of_the_file(ini):
    with pytest.raises(SettingsError, match="site_url = nonsense"):
        configure(make_config(site_url="nonsense").registry, ini())


@pytest.mark.parametrize("attempts", ["three", "0", "-1", "1.5"])
def test_a_wrong_number_of_attempts_is_a_fault_of_the_file(ini, attempts):
    with pytest.raises(SettingsError, match=rf"tasks.attempts = {attempts}.*allowed: 1 and above"):
        configure(make_config(**{"tasks.attempts": attempts}).registry, ini())


def test_the_protocol_of_celery_3_is_refused(ini):
    with pytest.raises(SettingsError, match="task_protocol = 1"):
        configure(make_config().registry, ini(worker_concurrency="task_protocol = 1"))


def test_including_twice_is_harmless_and_configuring_twice_is_a_conflict(ini):
    config = make_config()
    config.include("pyramid_celery_tm")
    path = ini()
    config.configure_celery(path)
    config.commit()
    config = make_config()

    def one(config):
        config.configure_celery(path)

    def other(config):
        config.configure_celery(path)

    config.include(one)
    config.include(other)
    with pytest.raises(ConfigurationConflictError):
        config.commit()


def test_what_was_configured_can_be_introspected(ini):
    config = make_config()
    config.configure_celery(ini())
    config.commit()
    [entry] = config.introspector.get_category("celery")
    assert entry["introspectable"]["worker_concurrency"] == 4


def test_a_worker_without_queues_consumes_all_three(ini):
    configure(Configurator().registry, ini())
    assert list(celery_app.amqp.queues.consume_from) == ["celery", "heavy", "background"]


def test_queues_and_the_default_queue_can_be_the_applications_own(ini):
    configure(Configurator().registry, ini(worker_concurrency="task_default_queue = main"))
    assert list(celery_app.amqp.queues.consume_from) == ["main", "heavy", "background"]


def test_an_explicit_route_wins_over_the_kind_of_task(ini):
    configure(Configurator().registry, ini())
    options = celery_app.amqp.router.route({}, "heavy", (), {}, celery_app.tasks["heavy"])
    assert options["queue"].name == "elsewhere"


class Kind:
    is_heavy_task = is_background = False


def test_heavy_wins_over_background():
    class Both(Kind):
        is_heavy_task = is_background = True

    class Background(Kind):
        is_background = True

    assert route_by_kind("x", (), {}, {}, Both()) == {"queue": "heavy"}
    assert route_by_kind("x", (), {}, {}, Background()) == {"queue": "background"}
    assert route_by_kind("x", (), {}, {}, Kind()) is None
    assert route_by_kind("x", (), {}, {}) is None


def test_shared_tasks_belong_to_the_configured_app_in_every_thread(ini):
    from concurrent.futures import ThreadPoolExecutor

    configure(Configurator().registry, ini())

    @shared_task(name="test.shared", is_heavy_task=True)
    def shared():
        pass

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(lambda: current_app._get_current_object()).result() is celery_app
        assert threads.submit(lambda: shared.app).result() is celery_app
    assert shared.is_heavy_task
    del celery_app.tasks["test.shared"]


def test_another_file_in_the_same_process_leaves_nothing_of_the_first(ini, caplog):
    configure(Configurator().registry, ini())
    assert add.acks_late is False
    assert str(celery_app.timezone) == "UTC"
    configure(
        Configurator().registry,
        ini("redis://localhost:2/5", worker_concurrency="task_acks_late = true\ntimezone = Asia/Tokyo"),
    )
    assert "Celery is configured anew" in caplog.text
    assert celery_app.connection_for_write().as_uri().endswith("localhost:2/5")
    assert add.acks_late is True
    assert str(celery_app.timezone) == "Asia/Tokyo"
    assert celery_app.conf.worker_concurrency is None


def test_queues_given_as_setting_are_kept(redis_url):
    from tests.application import configure as configure_values

    configure_values(make_config(), redis_url, task_queues=[Queue("one")])
    assert list(celery_app.amqp.queues.consume_from) == ["one"]


@pytest.mark.parametrize("broker", ["amqp://localhost", "pyamqp://localhost"])
def test_rabbitmq_confirms_what_it_was_given_unless_told_otherwise(broker):
    registry = make_config().registry
    apply_settings(celery_app, registry, "test.ini", {"broker_url": broker})
    assert celery_app.conf.broker_transport_options == {"confirm_publish": True}
    options = {"confirm_publish": False}
    apply_settings(celery_app, registry, "test.ini", {"broker_url": broker, "broker_transport_options": options})
    assert celery_app.conf.broker_transport_options == options


def test_the_setting_for_quorum_queues_makes_all_three_such(redis_url):
    values = {"broker_url": redis_url, "task_default_queue_type": "quorum"}
    apply_settings(celery_app, make_config().registry, "test.ini", values)
    for queue in celery_app.amqp.queues.values():
        assert queue.queue_arguments == {"x-queue-type": "quorum"}
        assert queue.exchange.type == "topic"
