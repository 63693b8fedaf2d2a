from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from myapp.models import Customer, Delivery, get_engine
from myapp.scripts.initialize_db import DEMO

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def ini(ini_file: str, tmp_path: Path) -> Path:
    """test.ini in a folder of its own, so that its database is a new file there."""
    ini = tmp_path / "test.ini"
    ini.write_text(Path(ini_file).read_text())
    return ini


def names(ini: Path) -> list[str]:
    engine = get_engine({"sqlalchemy.url": f"sqlite:///{ini.parent}/test.sqlite"})
    with Session(engine) as dbsession:
        found = [customer.name for customer in dbsession.query(Customer)]
        assert dbsession.query(Delivery).filter_by(state="open").count() == sum(map(len, DEMO.values())) * bool(found)
    engine.dispose()
    return found


def initialize(ini: Path) -> str:
    """Run the command in a process of its own, for it sets up the logging of the whole process."""
    code = "import sys; from myapp.scripts.initialize_db import main; sys.exit(main())"
    words = [sys.executable, "-c", code, str(ini)]
    return subprocess.run(words, check=True, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True).stdout


def test_it_makes_the_tables_and_something_to_look_at(ini: Path) -> None:
    initialize(ini)
    assert names(ini) == ["Ada", "Grace", "Alan"]


def test_running_it_again_changes_nothing(ini: Path) -> None:
    assert [initialize(ini), initialize(ini)] == ["Deliveries added: 5\n", "Deliveries added: 0\n"]
    assert len(names(ini)) == 3


def test_where_the_settings_want_no_demo_there_is_none(ini: Path) -> None:
    ini.write_text(ini.read_text().replace("demo_data = true", "demo_data = false"))
    initialize(ini)
    assert names(ini) == []
