import pytest
import zope.sqlalchemy
from pyramid.renderers import render
from pyramid.request import Request
from pyramid.testing import DummyRequest
from pyramid.threadlocal import get_current_registry, get_current_request, manager
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import QueuePool

from pyramid_celery_tm.exceptions import SiteUrlMissing
from pyramid_celery_tm.request import open_request, sessions_of, site_url
from tests.application import make_config


def registry_of(config):
    config.commit()
    return config.registry


class OwnRequest(Request):
    """An application's own request class."""


def test_the_request_is_made_by_the_application_and_current_while_it_is_open():
    config = make_config()
    config.set_request_factory(OwnRequest)
    config.add_request_method(lambda request: "Ada", "user", reify=True)
    registry = registry_of(config)
    before = len(manager.stack)
    with open_request(registry) as request:
        assert isinstance(request, OwnRequest)
        assert request.user == "Ada"
        assert request.registry is registry
        assert get_current_request() is request
        assert get_current_registry() is registry
    assert len(manager.stack) == before


def test_requests_nest_strictly():
    registry = registry_of(make_config())
    with open_request(registry) as outer:
        with open_request(registry) as inner:
            assert get_current_request() is inner
        assert get_current_request() is outer


def test_each_request_has_a_fresh_explicit_transaction_manager():
    registry = registry_of(make_config())
    with open_request(registry) as one, open_request(registry) as other:
        assert one.tm is not other.tm
        assert one.tm.explicit


def test_a_request_without_pyramid_tm_has_a_transaction_manager_too():
    from pyramid.config import Configurator

    with open_request(registry_of(Configurator())) as request:
        with request.tm:
            pass


@pytest.mark.parametrize("name", ["site_url", "websauna.site_url"])
def test_site_url_makes_urls_right(name):
    registry = registry_of(make_config(**{name: "https://shop.example.com:8443/prefix/"}))
    with open_request(registry) as request:
        assert request.route_url("page", id=1) == "https://shop.example.com:8443/prefix/page/1"
        assert request.route_path("page", id=1) == "/prefix/page/1"
        assert request.host == "shop.example.com:8443"


@pytest.mark.parametrize("ask", [lambda r: r.route_url("page", id=1), lambda r: r.host, lambda r: r.url])
def test_without_site_url_a_url_is_an_error_that_names_the_setting(ask):
    with open_request(registry_of(make_config())) as request, pytest.raises(SiteUrlMissing, match="site_url"):
        ask(request)


def test_without_site_url_a_request_can_be_printed():
    with open_request(registry_of(make_config())) as request:
        assert repr(request) == str(request)
        assert "of a task" in f"{request}"


def test_the_session_behind_a_scoped_session_is_found():
    config = make_config()
    scoped = scoped_session(sessionmaker())
    config.add_request_method(lambda request: scoped, "dbsession", reify=True)
    with open_request(registry_of(config)) as request:
        assert request.dbsession is scoped
        assert sessions_of(request) == []
        session = scoped()
        assert sessions_of(request) == [session]
    scoped.remove()


def test_without_site_url_everything_else_works():
    with open_request(registry_of(make_config())) as request:
        assert request.route_path("page", id=1) == "/page/1"
        assert render("json", {"a": 1}, request=request) == '{"a": 1}'


@pytest.mark.parametrize("url", ["shop.example.com", "ftp://shop.example.com", "https://", "https://a.example?x=1"])
def test_a_site_url_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match=r"site_url = .*https://www\.example\.com"):
        site_url(registry_of(make_config(site_url=url)))


@pytest.mark.parametrize("error", [None, RuntimeError("body")])
def test_finished_callbacks_run_exactly_once(error):
    called = []
    registry = registry_of(make_config())
    try:
        with open_request(registry) as request:
            request.add_finished_callback(called.append)
            if error:
                raise error
    except RuntimeError:
        pass
    assert called == [request]


def test_a_finished_callback_that_fails_is_logged_and_changes_nothing(caplog):
    registry = registry_of(make_config())
    before = len(manager.stack)

    def fail(request):
        raise ValueError("callback")

    with open_request(registry) as request:
        request.add_finished_callback(fail)
    assert "a finished callback of a task failed" in caplog.text
    assert len(manager.stack) == before


def test_the_threadlocals_are_restored_when_a_request_method_fails():
    config = make_config()
    config.add_request_method(lambda request: request.no_such_thing, "broken", property=True)
    config.set_request_factory(DummyRequest)
    registry = registry_of(config)
    before = len(manager.stack)
    with pytest.raises(AttributeError):
        with open_request(registry):
            pass
    assert len(manager.stack) == before


class CountingSession(Session):
    closed = 0

    def close(self):
        self.closed += 1
        super().close()


def test_the_sessions_of_the_request_are_closed_under_any_name():
    config = make_config()
    config.add_request_method(lambda request: CountingSession(), "db", reify=True)
    registry = registry_of(config)
    with open_request(registry) as request:
        session = request.db
    assert session.closed == 1


def test_an_aborted_transaction_gives_its_connection_back_though_the_session_is_kept():
    engine = create_engine("sqlite://", poolclass=QueuePool)

    def make(request):
        session = Session(engine)
        zope.sqlalchemy.register(session, transaction_manager=request.tm, keep_session=True)
        return session

    config = make_config()
    config.add_request_method(make, "dbsession", reify=True)
    with open_request(registry_of(config)) as request:
        request.tm.begin()
        request.dbsession.execute(text("select 1"))
        request.tm.abort()
        assert engine.pool.checkedout() == 1
    assert engine.pool.checkedout() == 0
    engine.dispose()
