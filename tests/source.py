"""The project's source as syntax trees, for the rules of the house: read, never imported."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY = "pyramid_celery_tm"


@dataclass(frozen=True)
class Import:
    """One name that a module imports; ``from ..app import configure`` has the whole dotted name as its target."""

    target: str
    bound: str
    line: int
    for_types: bool
    optional: bool


@dataclass(frozen=True)
class Module:
    """A file of Python."""

    path: Path

    @property
    def name(self) -> str:
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @property
    def where(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def lines(self) -> int:
        return len(self.path.read_text(encoding="utf-8").splitlines())

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), self.where)

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Everything imported anywhere in the file.

        ``for_types`` is what no run ever imports, ``optional`` what may be missing.
        """
        nodes = [node for node in ast.walk(self.tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        for_types, optional = self._inside(is_for_types), self._inside(is_guarded)
        return tuple(
            Import(target, bound, node.lineno, node in for_types, node in optional)
            for node in nodes
            for target, bound in self._names(node)
        )

    def _inside(self, is_block: Callable[[ast.AST], bool]) -> set[ast.AST]:
        return {node for block in ast.walk(self.tree) if is_block(block) for node in ast.walk(block)}

    def _names(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
        origin = self._origin(node) + "." if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            yield origin + alias.name, alias.asname or alias.name.partition(".")[0]

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.package.split(".")
        return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and dotted(node.test) == "TYPE_CHECKING"


def is_guarded(node: ast.AST) -> bool:
    return isinstance(node, ast.Try) and any(dotted(handler.type) == "ImportError" for handler in node.handlers)


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that is evaluated when the module is imported: all but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for early in (child.args, *getattr(child, "decorator_list", ())):
                yield early
                yield from run_at_import(early)
        else:
            yield child
            yield from run_at_import(child)


def dotted(node: ast.AST | None) -> str:
    """``a.b.c`` of a chain of attributes, or an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (origin := dotted(node.value)):
        return f"{origin}.{node.attr}"
    return ""


@cache
def modules(folder: str) -> tuple[Module, ...]:
    """The modules below one folder of the project."""
    return tuple(Module(path) for path in sorted((ROOT / folder).rglob("*.py")))


@cache
def module_names() -> frozenset[str]:
    return frozenset(module.name for folder in (LIBRARY, "myapp", "tests") for module in modules(folder))


def module_of(target: str) -> str:
    """The module of this project that an imported name lives in: the longest part of it that is one."""
    while target and target not in module_names():
        target = target.rpartition(".")[0]
    return target


def committed() -> list[Path]:
    """The files of the project as git sees them, with what is about to be committed."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]
