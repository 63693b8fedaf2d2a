"""The backup: the script really run, by the task that the button calls."""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import webtest
from sqlalchemy import make_url

from myapp.models import Backup
from myapp.models.meta import utcnow
from myapp.scripts.backup_database import BackupError, copy_sqlite, libpq_environment, run
from pyramid_celery_tm.builtin_tasks import backup_task
from tests.services import Unavailable
from tests.services.postgresql import find_binaries

from .conftest import LiveWith, Saved


@pytest.fixture
def copies(app_settings: dict[str, Any]) -> Path:
    return Path(app_settings["backup.directory"])


def deliveries_in(copy: Path, folder: Path) -> int:
    plain = folder / "restored.sqlite"
    plain.write_bytes(gzip.decompress(copy.read_bytes()))
    with closing(sqlite3.connect(plain)) as connection:
        return int(connection.execute("SELECT count(*) FROM delivery").fetchone()[0])


@pytest.mark.usefixtures("delivery_id")
def test_the_button_makes_a_copy_that_can_be_restored(live: webtest.TestApp, copies: Path, tmp_path: Path) -> None:
    page = live.get("/backups").form.submit(status=303).follow()
    [copy] = copies.iterdir()
    assert copy.name.startswith("myapp-2")
    assert copy.name.endswith(".sqlite.gz")
    assert deliveries_in(copy, tmp_path) == 1
    assert page.html.select_one("tbody code").text == str(copy)
    assert page.html.select_one(".note.bad") is None
    assert page.html.select_one("[role=status]") is not None


def test_only_its_owner_can_read_a_copy(live: webtest.TestApp, copies: Path) -> None:
    live.get("/backups").form.submit(status=303)
    [copy] = copies.iterdir()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(copies.stat().st_mode) == 0o700


def test_the_last_copies_are_kept_and_the_files_of_others_left_alone(live_with: LiveWith, copies: Path) -> None:
    copies.mkdir()
    old = [copies / f"myapp-2020010{day}T000000Z-1.{kind}" for day, kind in enumerate(["dump", "sqlite.gz", "dump"])]
    others = [copies / "notes.txt", copies / "myapp-20200101T000000Z-9.dump.partial"]
    for file in [*old, *others]:
        file.touch()
    live_with({"backup.keep": "2"})
    backup_task.delay()
    left = set(copies.iterdir())
    assert set(others) <= left
    assert [file for file in old if file in left] == old[-1:]
    assert len(left - set(others)) == 2


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"backup.keep": "0"}, "backup.keep = 0: allowed are numbers from 1 to 99999"),
        ({"backup.keep": "a[$(id>&2)]"}, r"backup.keep = a\[\$\(id>&2\)\]: allowed"),
        ({"backup.directory": ""}, "the setting backup.directory is missing"),
        ({"sqlalchemy.url": "sqlite:////nowhere/x.sqlite"}, "there is no database /nowhere/x.sqlite"),
        ({"sqlalchemy.url": "sqlite://"}, "there is no database in memory"),
        ({"backup.directory": "/dev/null/x"}, "mkdir"),
    ],
)
def test_a_backup_that_cannot_be_made_fails_with_the_reason(
    live_with: LiveWith, copies: Path, settings: dict[str, str], reason: str
) -> None:
    live_with(settings)
    with pytest.raises(Exception, match=reason):
        backup_task.delay()
    assert not copies.exists() or list(copies.iterdir()) == []


def test_a_damaged_database_is_not_backed_up(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sqlite"
    with closing(sqlite3.connect(damaged)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 3000,)] * 20)
        connection.commit()
    content = bytearray(damaged.read_bytes())
    content[4096 * 2 : 4096 * 3] = b"\xff" * 4096
    damaged.write_bytes(content)
    with pytest.raises((BackupError, sqlite3.DatabaseError), match=r"damaged|malformed"):
        copy_sqlite(make_url(f"sqlite:///{damaged}"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_copy_is_of_one_moment_while_others_write(database_url: str, saved: Saved, tmp_path: Path) -> None:
    with saved() as dbsession:
        dbsession.add(Backup(host="h", path="committed", size=1))
    with closing(sqlite3.connect(str(make_url(database_url).database))) as writer:
        writer.execute("INSERT INTO backup (host, path, size, made_at) VALUES ('h', 'not committed', 1, '2025-01-01')")
        copy_sqlite(make_url(database_url), tmp_path / "copy")
    (tmp_path / "plain").write_bytes(gzip.decompress((tmp_path / "copy").read_bytes()))
    with closing(sqlite3.connect(tmp_path / "plain")) as copy:
        assert copy.execute("SELECT path FROM backup").fetchall() == [("committed",)]


def test_the_page_warns_when_the_daily_backup_is_overdue(live: webtest.TestApp, saved: Saved) -> None:
    def warned() -> bool:
        return live.get("/backups").html.select_one(".note.bad") is not None

    assert warned()
    with saved() as dbsession:
        dbsession.add(Backup(host="h", path="/b/1", size=1, made_at=utcnow() - timedelta(hours=27)))
    assert warned()
    with saved() as dbsession:
        dbsession.add(Backup(host="h", path="/b/2", size=1, made_at=utcnow() - timedelta(hours=23)))
    assert not warned()


@pytest.fixture
def pg_dump(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a pg_dump that is as old as the server of the tests, put first on the path."""
    if "TEST_POSTGRESQL_URL" in os.environ:
        found = shutil.which("pg_dump")
        folder = Path(found).parent if found else None
    else:
        folder = _own_folder()
    if folder is None or not (folder / "pg_dump").exists():
        pytest.skip("no pg_dump: Debian's package postgresql-client has one")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def _own_folder() -> Path | None:
    try:
        return find_binaries()[0]
    except Unavailable:
        return None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("delivery_id")
def test_postgresql_is_dumped(live: webtest.TestApp, copies: Path, pg_dump: Path) -> None:
    live.get("/backups").form.submit(status=303)
    [copy] = copies.iterdir()
    assert copy.suffix == ".dump"
    sql = subprocess.run([pg_dump / "pg_restore", "--file=-", copy], check=True, capture_output=True, text=True).stdout
    assert "COPY public.delivery" in sql
    assert "a clock" in sql


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("pg_dump")
def test_a_dump_that_fails_leaves_nothing_behind(live_with: LiveWith, copies: Path, database_url: str) -> None:
    gone = make_url(database_url).set(database="nobody_has_this").render_as_string(hide_password=False)
    live_with({"sqlalchemy.url": gone})
    with pytest.raises(Exception, match="nobody_has_this"):
        backup_task.delay()
    assert list(copies.iterdir()) == []


def test_pg_dump_is_told_where_the_database_is_by_its_environment() -> None:
    url = make_url("postgresql+psycopg://ada:p%40ss@db.example.com:5433/myapp?sslmode=verify-full&connect_timeout=3")
    assert libpq_environment(url) == {
        "PGHOST": "db.example.com",
        "PGPORT": "5433",
        "PGUSER": "ada",
        "PGPASSWORD": "p@ss",
        "PGDATABASE": "myapp",
        "PGSSLMODE": "verify-full",
        "PGCONNECT_TIMEOUT": "3",
    }
    socket_only = make_url("postgresql+psycopg:///myapp?host=/run/postgresql")
    assert libpq_environment(socket_only) == {
        "PGHOST": "/run/postgresql",
        "PGDATABASE": "myapp",
        "PGCONNECT_TIMEOUT": "10",
    }


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://h/db?channel_binding=require", "the option channel_binding: allowed are application_name"),
        ("postgresql://u:a%0Ab@h/db", "more than one line"),
    ],
)
def test_what_pg_dump_cannot_be_told_is_not_left_out_silently(url: str, reason: str) -> None:
    with pytest.raises(BackupError, match=reason):
        libpq_environment(make_url(url))


@pytest.mark.parametrize("arguments", [[], ["what"], ["copy"], ["copy", "a", "b"]])
def test_the_helper_says_what_it_can_do(arguments: list[str]) -> None:
    with pytest.raises(BackupError, match="allowed are kind, environment, copy FILE and record FILE"):
        list(run(arguments, make_url("sqlite://")))


def test_the_script_can_be_executed() -> None:
    assert os.access(str(files("myapp") / "scripts" / "backup.bash"), os.X_OK)
