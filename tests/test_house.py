"""The rules of the house, read off the source and never by running it.

Where a rule names a module that is not there yet, it waits for it. A module without a floor is a fault: say in
``FLOORS`` where it stands. Compared with the plan, ``request`` and ``deferral`` left helpers of their own on floors 2
and 3 (``current``, ``signatures``, ``eager``, ``deferred_task``, ``chords``, ``maps``), so that no file is long;
``ini`` and ``redis`` were added at the bottom; ``startup``, which loads the application of an INI file, stands below
the commands, because Celery's own command with ``-A`` comes to it through ``__init__`` and ``preload``.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest

from tests.source import LIBRARY, ROOT, Import, Module, committed, dotted, module_of, modules, run_at_import

FLOORS = {
    1: "exceptions ini settings request deferral redis freeze conflicts connections producers keeper metrics "
    "pyramid_celery_import command_logging schedule_check ticks unacked",
    2: "savepoints current signatures results publish packing eager backup ledger sessions throttle transition states",
    3: "record delivery aftermath work task deferred_task chord_parts chords maps",
    4: "app background executors beat relay",
    5: "builtin_tasks inspector startup preload __init__",
    6: "scripts testing dashboard",
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}

FRONT_DOORS = {LIBRARY, f"{LIBRARY}.executors", f"{LIBRARY}.builtin_tasks", f"{LIBRARY}.testing"}

# module -> what it must know nothing of; a name covers all below it
IGNORANT = {
    "deferral": {"celery", "kombu", "billiard", "sqlalchemy", "zope.sqlalchemy", "pyramid", "pyramid_celery", "redis"},
    "settings": {"pyramid", "pyramid_celery", "sqlalchemy", "redis", "transaction"},
    "ledger": {"celery", "kombu", "billiard", "pyramid", "pyramid_celery"},
    "throttle": {"pyramid", "pyramid_celery"},
}

# called at import, each of these would be an object that outlives its configuration
MADE = {
    *("create_engine", "engine_from_config", "create_async_engine", "scoped_session", "Session"),
    *("Redis", "StrictRedis", "Valkey", "from_url", "ConnectionPool", "Connection", "Producer"),
    *("Celery", "Configurator", "Registry", "TransactionManager", "ThreadTransactionManager", "get_app", "bootstrap"),
}
PICKLES = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
SWITCHES = {"sys.argv", "sys.dont_write_bytecode"}  # which their owner documents as there to be set
LONGEST = 300
LONGEST_TEST = 400  # a list of sentences may be longer than what it speaks of


def library() -> tuple[Module, ...]:
    return modules(LIBRARY)


def application() -> tuple[Module, ...]:
    return modules("myapp")


def everything() -> tuple[Module, ...]:
    return (*library(), *application(), *modules("tests"))


def part(name: str) -> str:
    """The module or folder directly below the library that a dotted name lies in."""
    rest = name.removeprefix(LIBRARY).lstrip(".")
    return rest.partition(".")[0] or "__init__"


def siblings(module: Module) -> Iterator[tuple[str, Import]]:
    """What a module of the library imports from the rest of the library: the part, and the import."""
    for found in module.imports:
        target = module_of(found.target)
        if target.partition(".")[0] == LIBRARY and part(target) != part(module.name):
            yield part(target), found


def is_below(target: str, names: set[str]) -> bool:
    return any(target == name or target.startswith(f"{name}.") for name in names)


def test_the_library_imports_neither_the_application_nor_the_tests():
    assert [f"{m.where}:{i.line}" for m in library() for i in m.imports if is_below(i.target, {"myapp", "tests"})] == []


def test_the_application_enters_the_library_by_the_front_doors():
    inside = [
        f"{module.where}:{found.line} imports {found.target}"
        for module in application()
        for found in module.imports
        if is_below(found.target, {LIBRARY}) and module_of(found.target) not in FRONT_DOORS
    ]
    assert inside == []


@pytest.mark.parametrize("name", sorted(IGNORANT))
def test_a_module_does_not_know_what_is_not_its_business(name):
    known = [
        f"{module.where}:{found.line} imports {found.target}"
        for module in library()
        if part(module.name) == name
        for found in module.imports
        if is_below(found.target, IGNORANT[name])
    ]
    assert known == []


def test_settings_imports_no_sibling():
    assert [(m.where, s) for m in library() if part(m.name) == "settings" for s, _ in siblings(m)] == []


def test_nobody_imports_what_stands_on_the_top_floor():
    top = {"scripts", "dashboard", "testing"}
    assert [f"{m.where}:{i.line}" for m in library() for target, i in siblings(m) if target in top] == []


def test_every_module_of_the_library_has_a_floor():
    assert sorted({part(module.name) for module in library()} - set(FLOOR)) == []


def test_imports_run_down_the_floors():
    upwards = [
        f"{module.where}:{found.line} (floor {FLOOR[part(module.name)]}) imports {target} (floor {FLOOR[target]})"
        for module in library()
        for target, found in siblings(module)
        if FLOOR[target] > FLOOR[part(module.name)]
    ]
    assert upwards == []


@pytest.mark.parametrize("folder", [LIBRARY, "myapp"])
def test_there_is_no_circle_of_imports(folder):
    # an import inside a function counts: it hides a circle and does not open it
    names = {module.name for module in modules(folder)}
    ahead = {
        module.name: {module_of(found.target) for found in module.imports if not found.for_types}
        & names - {module.name}
        for module in modules(folder)
    }
    while leaves := {name for name, needs in ahead.items() if not needs}:
        ahead = {name: needs - leaves for name, needs in ahead.items() if name not in leaves}
    assert ahead == {}


@pytest.mark.parametrize(("folder", "lists"), [(LIBRARY, ["REQUIRES", "RUN", "SHELL"]), ("myapp", ["REQUIRES", "APP"])])
def test_what_is_imported_is_asked_for_in_setup(folder, lists):
    given = literals(Module(ROOT / "setup.py"))
    asked = {canonical(re.split(r"[<>=\[]", line)[0]) for name in lists for line in given[name]}
    needed = {
        distribution(found.target) for module in modules(folder) for found in module.imports if not found.optional
    }
    assert sorted(needed - asked - {""}) == []


def literals(module: Module) -> dict[str, list[str]]:
    """The lists of plain strings that a module assigns at its top."""
    assigned = [node for node in module.tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)]
    return {dotted(n.targets[0]): [e.value for e in n.value.elts if isinstance(e, ast.Constant)] for n in assigned}


DISTRIBUTIONS = packages_distributions()


def distribution(target: str) -> str:
    """Who brings an imported name; nothing for what this project or Python brings."""
    top = target.partition(".")[0]
    if top in sys.stdlib_module_names or top in {LIBRARY, "myapp"}:
        return ""
    # a namespace of many distributions, each named after its package
    return canonical(".".join(target.split(".")[:2]) if top == "zope" else DISTRIBUTIONS.get(top, [top])[0])


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_file_is_short():
    longest = {True: LONGEST_TEST, False: LONGEST}
    lengths = {module.where: module.lines for module in everything()}
    assert {file: lines for file, lines in lengths.items() if lines > longest[file.startswith("tests")]} == {}


def test_nothing_is_made_at_import():
    made = [
        f"{module.where}:{node.lineno}: {dotted(node.func)}"
        for module in (*library(), *application())
        for node in run_at_import(module.tree)
        if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in MADE
    ]
    assert made == []


def test_there_is_no_global_eval_exec_pickle_or_bare_except():
    assert [f"{m.where}:{fault}" for m in (*library(), *application()) for fault in forbidden(m)] == []


def forbidden(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Global):
            yield f"{node.lineno}: global"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{node.lineno}: except without a type"
        if isinstance(node, ast.Call) and dotted(node.func) in {"eval", "exec", "__import__"}:
            yield f"{node.lineno}: {dotted(node.func)}()"
    for found in module.imports:
        if is_below(found.target, PICKLES):
            yield f"{found.line}: {found.target}"


def test_nobody_changes_what_belongs_to_others():
    # pyramid_celery cannot be imported unaided by Python 3.12 and later: the one exception, with its reason
    candidates = [m for m in (*library(), *application()) if part(m.name) != "pyramid_celery_import"]
    assert [f"{m.where}:{patch}" for m in candidates for patch in patches(m)] == []


def patches(module: Module) -> Iterator[str]:
    """Attributes set or deleted on names that the module imported from elsewhere."""
    own = module.name.partition(".")[0]
    foreign = {found.bound for found in module.imports if not is_below(found.target, {own})}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            target = dotted(node)
        elif isinstance(node, ast.Call) and dotted(node.func) in {"setattr", "delattr"}:
            target = dotted(node.args[0])
        else:
            continue
        if target.partition(".")[0] in foreign and target not in SWITCHES:
            yield f"{node.lineno}: {target} is changed"


def test_views_leave_the_work_to_tasks_and_tasks_build_no_response():
    outside = {"smtplib", "socket", "subprocess", "urllib.request", "http.client", "requests", "httpx"}
    answers = {"pyramid.response", "pyramid.httpexceptions", "pyramid.view"}
    rules = {"myapp.views": outside, "myapp.tasks": answers, "myapp.executors": answers}
    broken = [
        f"{module.where}:{found.line} imports {found.target}"
        for module in application()
        for name, unwanted in rules.items()
        if is_below(module.name, {name})
        for found in module.imports
        if is_below(found.target, unwanted)
    ]
    assert broken == []


THEIR_TIME = {"tests.functional.apps", "tests.faults.app"}


def test_no_test_sleeps():
    """One helper polls; the tasks of the tests' applications may take their time, which is what they are for."""
    sleeping = [
        f"{module.where}:{node.lineno}"
        for module in modules("tests")
        if module.name != "tests.services.base" and not is_below(module.name, THEIR_TIME)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and dotted(node.func) in {"time.sleep", "sleep", "asyncio.sleep", "gevent.sleep"}
    ]
    assert sleeping == []


def test_the_three_ini_files_have_the_same_sections_in_the_same_order():
    names = ("development.ini", "production.ini", "test.ini")
    sections = {name: re.findall(r"^\[(.+)\]", (ROOT / name).read_text(), re.MULTILINE) for name in names}
    assert sections["development.ini"] == sections["production.ini"] == sections["test.ini"]


def test_no_committed_file_names_a_folder_of_one_machine():
    # the brackets keep this line from finding itself
    machine = re.compile(rb"/wor[k]/|/hom[e]/[a-z]|/opt/[p]ypi|/roo[t]/")
    assert [str(path.relative_to(ROOT)) for path in committed() if machine.search(path.read_bytes())] == []


def test_the_pins_name_no_host():
    files = [ROOT / "Makefile", ROOT / "setup.py", ROOT / "pyproject.toml", *(ROOT / "requirements").iterdir()]
    files += (ROOT / ".ci").iterdir()
    index = re.compile(r"://(?!localhost)|--(extra-)?index-url|--find-links|--trusted-host")
    assert [path.name for path in files if index.search(path.read_text())] == []


def test_every_pin_has_its_hashes():
    pins = (ROOT / "requirements" / "lock.txt").read_text().replace("\\\n", " ").splitlines()
    assert [pin for pin in pins if not re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", pin)] == []
