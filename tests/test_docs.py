"""The documentation, held to the code: what it shows can be read, and each names what the other has."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from importlib import import_module
from importlib.metadata import entry_points

import pytest

import pyramid_celery_tm
from pyramid_celery_tm import exceptions
from pyramid_celery_tm.ini import read_sections
from pyramid_celery_tm.ledger.policy import PREFIX, Policy
from pyramid_celery_tm.request import SITE_URL_SETTINGS
from pyramid_celery_tm.scripts.queues import queues
from pyramid_celery_tm.settings import celery_settings
from pyramid_celery_tm.settings.routes import OPTIONS as ROUTE
from pyramid_celery_tm.settings.schedules import OPTIONS as BEAT
from tests.source import LIBRARY, ROOT, modules

REFERENCE = ROOT / "docs" / "reference"
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(<!-- faults -->\n)?```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(#[^)\s]*)?\)")
#: How the library reads a setting of the application: with a literal, or a constant of its module.
READS = re.compile(r"settings( or {}\))?\.get$")


def blocks(language, *, faulty=False):
    """Each block of a language in all pages, with the place to look for it."""
    return list(_blocks(language, faulty))


def _blocks(language, faulty):
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            if found[2] == language and bool(found[1]) == faulty:
                line = text.count("\n", 0, found.start()) + 1
                yield pytest.param(found[3], id=f"{page.relative_to(ROOT)}:{line}")


def reference(page):
    return (REFERENCE / page).read_text(encoding="utf-8")


def sections(text, tmp_path):
    (tmp_path / "page.ini").write_text(text, encoding="utf-8")
    return read_sections(str(tmp_path / "page.ini"))


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("code", blocks("python"))
def test_python_is_python(code):
    ast.parse(code)


@pytest.mark.parametrize("text", blocks("ini"))
def test_configuration_is_accepted(text, tmp_path):
    settings = celery_settings(sections(text, tmp_path))
    assert ([str(fault) for fault in settings.faults], settings.warnings) == ([], [])


def test_faults_are_told_in_the_words_of_the_page(tmp_path):
    (text,) = (block.values[0] for block in blocks("ini", faulty=True))
    (shown,) = (block.values[0] for block in blocks("text"))
    assert [str(fault) for fault in celery_settings(sections(text, tmp_path)).faults] == shown.splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if not path.startswith("https:"):
            target = page.parent / path if path else page
            assert target.exists(), path
            assert not anchor or anchor[1:] in anchors(target), path + anchor


def test_every_page_can_be_reached():
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / path).resolve() for path, _ in LINK.findall(index.read_text(encoding="utf-8"))}
    assert [str(page) for page in (ROOT / "docs").rglob("*.md") if page not in {index, *linked}] == []


def test_the_reference_names_what_is_public():
    text = reference("python.md")
    assert [name for name in pyramid_celery_tm.__all__ if not re.search(rf"^\| `{name}\b", text, re.MULTILINE)] == []


def test_what_the_pages_import_from_the_package_is_public():
    imported = {
        alias.name
        for block in blocks("python")
        for node in ast.walk(ast.parse(block.values[0]))
        if isinstance(node, ast.ImportFrom) and node.module == LIBRARY
        for alias in node.names
    }
    assert imported <= set(pyramid_celery_tm.__all__)
    assert imported


def test_the_errors_of_the_reference_are_those_that_there_are():
    classes = {
        name for name, value in vars(exceptions).items() if getattr(value, "__module__", "") == exceptions.__name__
    }
    assert set(re.findall(r"^\| `(\w+)`", reference("errors.md"), re.MULTILINE)) == classes


def test_the_settings_of_the_reference_are_those_that_the_library_reads():
    table = reference("configuration.md").partition("## Sections")[0]
    assert set(re.findall(r"^\| `([\w.]+)`", table, re.MULTILINE)) == settings_read() | {SITE_URL_SETTINGS[0]}
    assert all(f"`{name}`" in table for name in SITE_URL_SETTINGS)


def settings_read():
    # but the other names of site_url, and the ledger's, which are read in a loop
    read = {
        node.args[0].value
        if isinstance(node.args[0], ast.Constant)
        else getattr(import_module(module.name), node.args[0].id)
        for module in modules(LIBRARY)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and READS.search(ast.unparse(node.func))
        and ast.unparse(node.args[0]) not in {"name", "PREFIX + field.name"}
    }
    return read | {PREFIX + field.name for field in fields(Policy)}


@pytest.mark.parametrize("field", fields(Policy), ids=lambda field: field.name)
def test_the_reference_has_the_defaults_of_the_ledger(field):
    default = field.default
    number = isinstance(default, int | float) and not isinstance(default, bool)
    written = f"{default:.0f}" if number else str(default).lower()
    assert f"\n| `{PREFIX}{field.name}` | {written} |" in reference("configuration.md")


@pytest.mark.parametrize("option", [*BEAT, *ROUTE])
def test_the_reference_names_the_options_of_the_sections(option):
    assert f"`{option}`" in reference("configuration.md")


def test_commands_that_the_pages_name_are_installed():
    installed = {script.name for script in entry_points(group="console_scripts") if script.module.startswith(LIBRARY)}
    named = {name for page in PAGES for name in re.findall(r"\bws-[a-z]+\b", page.read_text(encoding="utf-8"))}
    assert named == installed
    assert all(f"\n## {name}\n" in reference("commands.md") for name in installed)


def test_the_reference_names_the_options_of_our_own_commands():
    from pyramid_celery_tm.scripts import argv, purge, ws_run, ws_shell

    text = reference("commands.md")
    options = {word for parser in (ws_run._parser(), ws_shell._parser()) for word in parser._option_string_actions}
    options |= {word for option in (*argv.OWN_OPTIONS, *queues.params) for word in option.opts}
    options |= {
        word for option in purge.command.params if option not in purge.celery_purge.params for word in option.opts
    }
    assert {word for word in options - {"-h", "--help"} if word not in text} == set()


def test_the_lines_of_the_log_that_the_pages_explain_are_written():
    page = (ROOT / "docs" / "howto" / "production.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([^`]+)` \|", page.partition("## What to look for in the log")[2], re.MULTILINE)
    assert lines
    source = "".join(module.path.read_text(encoding="utf-8") for module in modules(LIBRARY))
    assert [line for line in lines if line not in source] == []
