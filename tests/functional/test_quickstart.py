"""The quickstart, as a reader of it types it: its files, its commands, and what it says they do."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request

import pytest

pytest.importorskip("honcho")
pytest.importorskip("hupper")

from tests.functional.project import ROOT, Project
from tests.services import free_port, wait_until

PAGE = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
FILE = re.compile(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
TABLES = re.compile(r"^echo '(.*)' \| \.venv/bin/ws-shell development\.ini$", re.MULTILINE)


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def project(tmp_path, port):
    """The files of the page, with ports that are free."""
    redis = free_port()
    for name, text in FILE.findall(PAGE):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        here = text.replace("localhost:6543", f"127.0.0.1:{port}").replace(":6379", f":{redis}")
        path.write_text(here, encoding="utf-8")
    return Project(tmp_path, f"redis://127.0.0.1:{redis}/3")


def test_it_greets_what_was_committed_and_nothing_else(project, port):
    url = f"http://127.0.0.1:{port}/machines"

    def ask(**form):
        data = urllib.parse.urlencode(form).encode() if form else None
        with urllib.request.urlopen(url, data, timeout=30) as answer:
            return json.load(answer)

    def answers():
        try:
            return ask() == {}
        except urllib.error.URLError:
            return False

    def counts():
        return json.loads(project.run("ledger", "status", "--json", "--ini", "development.ini").stdout)["counts"]

    (tables,) = TABLES.findall(PAGE)
    made = project.run("development.ini", command="ws_shell", stdin=tables)
    assert made.returncode == 0, made.stderr
    with project.running("development.ini", "--no-reload", command="ws_run") as site:
        wait_until(answers, 30, "the application")
        assert ask(name="mill")["id"] == 1
        with pytest.raises(urllib.error.HTTPError, match="500"):
            ask(name="saw", fail="1")
        site.wait_for(f"{url}: Hello, mill")
        wait_until(lambda: counts()["done"] == 2, 30, "two calls that are done", every=0.5)
        assert sum(counts().values()) == 2
        assert ask() == {"mill": "Hello, mill"}
        site.end()
