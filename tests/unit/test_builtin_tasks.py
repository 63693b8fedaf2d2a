"""The task ``backup``, as beat starts it: through a broker, by a worker."""

from __future__ import annotations

import pytest

from pyramid_celery_tm import RequestAwareTask, celery_app
from pyramid_celery_tm.builtin_tasks import backup_task
from pyramid_celery_tm.exceptions import BackupFailed
from tests.application import configure, make_config, worker


@pytest.fixture
def run(redis_url, tmp_path):
    """Runs the task with a script in a real worker; returns its result."""

    def run(script: str):
        path = tmp_path / "backup.bash"
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)
        configure(make_config(backup_script=str(path)), redis_url)
        with worker(loglevel="info"):
            result = celery_app.send_task("backup")
            return result.get(timeout=20)

    return run


def test_the_task_has_the_name_of_the_source_documents_and_a_request():
    assert celery_app.tasks["backup"].name == backup_task.name == "backup"
    assert isinstance(celery_app.tasks["backup"], RequestAwareTask)


def test_a_backup_succeeds_with_its_script(run, tmp_path, caplog):
    assert run(f"echo dumped; touch {tmp_path}/dump") is None
    assert (tmp_path / "dump").exists()
    assert [m for m in caplog.messages if m in ("Running daily backup", "dumped", "Daily backup done")] == [
        "Running daily backup",
        "dumped",
        "Daily backup done",
    ]


def test_a_failed_script_is_a_failed_task_with_the_reason(run):
    with pytest.raises(BackupFailed, match="ended with status 2; its last output:\n  disk full"):
        run("echo disk full; exit 2")
