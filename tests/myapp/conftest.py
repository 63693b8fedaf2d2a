"""What the tests of the application may ask for.

Two ways to a running application, both made from ``test.ini``, with a database of the test's own:

``testapp``
    The cookiecutter's: application, session and test share one transaction that is doomed. Cheap, and for views that
    only read and write rows. Nothing is ever committed, so no task ever leaves.
``live``
    Each request commits or aborts as it does in production, and each task runs (eagerly) after the commit. Read what it
    did with ``saved``. For whatever has a task in it.

Do not use both in one test: the open transaction of the first locks out the second on SQLite.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import transaction
import webtest
from pyramid.config import Configurator
from pyramid.paster import get_appsettings
from pyramid.request import Request
from pyramid.router import Router
from pyramid.scripting import prepare
from pyramid.testing import DummyRequest, testConfig
from sqlalchemy import Engine, make_url
from sqlalchemy.orm import Session

from myapp import main, models
from myapp.models import Customer, Delivery
from myapp.scripts.initialize_db import upgrade

from .webserver import Received, WebServer

Saved = Callable[[], Any]
LiveWith = Callable[..., webtest.TestApp]

on_both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def ini_file() -> str:
    return str(Path(__file__).parents[2] / "test.ini")


@pytest.fixture(scope="session")
def ini_settings(ini_file: str) -> dict[str, str]:
    """The section [app:main] of test.ini."""
    return dict(get_appsettings(ini_file))


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with all tables, to copy."""
    file = tmp_path_factory.mktemp("template") / "template.sqlite"
    engine = models.get_engine({"sqlalchemy.url": f"sqlite:///{file}"})
    upgrade(engine)
    engine.dispose()
    return file


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with all tables: on SQLite, or where a test says ``on_both_databases``."""
    if getattr(request, "param", "sqlite") == "sqlite":
        file = tmp_path / "test.sqlite"
        shutil.copy(request.getfixturevalue("migrated_file"), file)
        return f"sqlite:///{file}"
    url = str(request.getfixturevalue("postgresql_url"))
    engine = models.get_engine({"sqlalchemy.url": url})
    upgrade(engine)
    engine.dispose()
    return url


@pytest.fixture
def web_server() -> Iterator[WebServer]:
    """Another company's server."""
    server = WebServer()
    yield server
    server.close()


@pytest.fixture
def sent_sms(web_server: WebServer) -> list[Received]:
    """The text messages that the service has been handed."""
    return web_server.received


@pytest.fixture
def app_settings(
    ini_settings: dict[str, str], database_url: str, redis_url: str, web_server: WebServer, tmp_path: Path
) -> dict[str, Any]:
    """The settings of test.ini, with the test's own services."""
    return {
        **ini_settings,
        "sqlalchemy.url": database_url,
        "redis.url": redis_url,
        "sms.service": "http",
        "sms.url": f"{web_server.url}/messages",
        "sms.key": "secret-of-the-test",
        "sms.timeout": "5",
        "rates.url": f"{web_server.url}/rates.json",
        "backup.directory": str(tmp_path / "backups"),
    }


@pytest.fixture
def dbengine(app_settings: dict[str, Any]) -> Iterator[Engine]:
    engine = models.get_engine(app_settings)
    yield engine
    engine.dispose()


@pytest.fixture
def app(ini_file: str, app_settings: dict[str, Any], dbengine: Engine) -> Router:
    return main({"__file__": ini_file, "here": str(Path(ini_file).parent)}, dbengine=dbengine, **app_settings)


@pytest.fixture
def live_with(ini_file: str, app_settings: dict[str, Any]) -> Iterator[LiveWith]:
    """``live`` with other settings, or another INI file: ``live_with({"rates.fake": "false"})``."""
    made: list[Router] = []

    def make(settings: dict[str, str], ini: str = ini_file) -> webtest.TestApp:
        made.append(main({"__file__": ini}, **{**app_settings, **settings}))
        return webtest.TestApp(made[-1])

    yield make
    for app in made:
        app.registry["dbengine"].dispose()


@pytest.fixture
def patient(ini_file: str, live_with: LiveWith, tmp_path: Path) -> webtest.TestApp:
    """As ``live``, but a task that fails is retried or logged, as a worker does; with test.ini the caller is told."""
    ini = tmp_path / "patient.ini"
    option = "CELERY_EAGER_PROPAGATES_EXCEPTIONS = "
    ini.write_text(Path(ini_file).read_text().replace(f"{option}true", f"{option}false"))
    return live_with({}, str(ini))


@pytest.fixture
def live(app: Router) -> webtest.TestApp:
    return webtest.TestApp(app)


@pytest.fixture
def saved(dbengine: Engine) -> Callable[[], Any]:
    """``with saved() as dbsession:`` reads (or writes) what is committed, whatever sessions the application has."""

    @contextmanager
    def open_session() -> Iterator[Session]:
        with Session(dbengine, expire_on_commit=False) as dbsession, dbsession.begin():
            yield dbsession

    return open_session


@pytest.fixture
def delivery_id(saved: Saved) -> int:
    """An open delivery that is committed."""
    with saved() as dbsession:
        delivery = Delivery(customer=Customer(name="Ada O'Neill", phone="+441632960001"), contents="a clock")
        dbsession.add(delivery)
    return delivery.id


@pytest.fixture
def tm() -> Iterator[transaction.TransactionManager]:
    tm = transaction.TransactionManager(explicit=True)
    tm.begin()
    tm.doom()
    yield tm
    tm.abort()


@pytest.fixture
def dbsession(app: Router, tm: transaction.TransactionManager) -> Session:
    return models.get_tm_session(app.registry["dbsession_factory"], tm)


@pytest.fixture
def testapp(app: Router, tm: transaction.TransactionManager, dbsession: Session) -> webtest.TestApp:
    environ = {"HTTP_HOST": "example.com", "tm.active": True, "tm.manager": tm, "app.dbsession": dbsession}
    return webtest.TestApp(app, extra_environ=environ)


@pytest.fixture
def app_request(app: Router, tm: transaction.TransactionManager, dbsession: Session) -> Iterator[Request]:
    """A real request, with the request methods of the application."""
    with prepare(registry=app.registry) as env:
        request = env["request"]
        request.host = "example.com"
        # without this it would be another session, with another connection, on the same transaction
        request.dbsession = dbsession
        request.tm = tm
        yield request


@pytest.fixture
def dummy_request(tm: transaction.TransactionManager, dbsession: Session) -> DummyRequest:
    """A light request, without the request methods of the application, and not the current one of the thread."""
    request = DummyRequest()
    request.host = "example.com"
    request.dbsession = dbsession
    request.tm = tm
    return request


@pytest.fixture
def dummy_config(dummy_request: DummyRequest) -> Iterator[Configurator]:
    with testConfig(request=dummy_request) as config:
        yield config


def is_sqlite(url: str) -> bool:
    return make_url(url).get_backend_name() == "sqlite"
