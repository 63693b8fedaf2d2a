from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from myapp.models import Customer, Delivery, get_engine
from myapp.scripts.initialize_db import DEMO, main


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


def test_it_makes_the_tables_and_something_to_look_at(ini: Path) -> None:
    assert main([str(ini)]) == 0
    assert names(ini) == ["Ada", "Grace", "Alan"]


def test_running_it_again_changes_nothing(ini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(ini)])
    main([str(ini)])
    assert capsys.readouterr().out.splitlines() == ["Deliveries added: 5", "Deliveries added: 0"]
    assert len(names(ini)) == 3


def test_where_the_settings_want_no_demo_there_is_none(ini: Path) -> None:
    ini.write_text(ini.read_text().replace("demo_data = true", "demo_data = false"))
    main([str(ini)])
    assert names(ini) == []


def test_the_three_ini_files_have_the_same_sections_in_the_same_order(ini_file: str) -> None:
    sections = []
    for name in ("development", "production", "test"):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(Path(ini_file).with_name(f"{name}.ini"))
        sections.append(parser.sections())
    assert sections[0] == sections[1] == sections[2]
