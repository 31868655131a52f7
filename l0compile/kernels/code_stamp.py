"""A hash of the code that a function reaches: cost records carry it, and hold for that code only.

Text that does not change what is computed does not count: comments, docstrings, annotations, imports, the module that
a function lies in, and functions that are not reached.
"""

import ast
import functools
import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l0compile.hardware.targets import Core

# Where the code of kernels lies; what they import from elsewhere only carries data or raises errors.
_FOLLOWED, _NOT_FOLLOWED = ("l0compile.kernels.", "l0compile.ir."), "l0compile.kernels.tir"
_CORE = tuple(Core.__dataclass_fields__)


@functools.cache
def code_stamp(function: Callable[..., Any], core: Core) -> str:
    """Hash ``function``, all that it reaches in kernels and operators, and the numbers of ``core`` that these read."""
    found: dict[tuple[str, str], str] = {}
    todo, fields = [(function.__module__, function.__name__)], set[str]()
    while todo:
        place = todo.pop()
        module = _module(place[0])
        if place not in found and place[1] in module.definitions:
            definition = module.definitions[place[1]]
            found[place] = ast.unparse(definition)
            fields |= {n.attr for n in ast.walk(definition) if isinstance(n, ast.Attribute)} & set(_CORE)
            names = {n.id for n in ast.walk(definition) if isinstance(n, ast.Name)}
            todo += [module.imported.get(name, (place[0], name)) for name in names]
    numbers = [f"{name} = {getattr(core, name)}" for name in sorted(fields)]
    return hashlib.sha256("\n".join([*sorted(found.values()), *numbers]).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class _Module:
    """definitions: name -> statement that defines it. imported: name -> (module, its name there)."""

    definitions: dict[str, ast.stmt]
    imported: dict[str, tuple[str, str]]


@functools.cache
def _module(name: str) -> _Module:
    path = sys.modules[name].__file__
    assert path is not None
    tree = _Bare().visit(ast.parse(Path(path).read_text(encoding="utf-8")))
    definitions = {defined: statement for statement in tree.body for defined in _names(statement)}
    imported = {
        alias.asname or alias.name: (statement.module or "", alias.name)
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom)
        and str(statement.module).startswith(_FOLLOWED)
        and statement.module != _NOT_FOLLOWED
        for alias in statement.names
    }
    return _Module(definitions, imported)


def _names(statement: ast.stmt) -> Iterator[str]:
    """What a statement of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign):
        yield from (n.id for target in statement.targets for n in ast.walk(target) if isinstance(n, ast.Name))


class _Bare(ast.NodeTransformer):
    """Removes docstrings and annotations."""

    def visit(self, node: ast.AST) -> Any:
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Pass()
        if isinstance(node, ast.AnnAssign):
            return self.generic_visit(_assigned(node))
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        return self.generic_visit(node)


def _assigned(node: ast.AnnAssign) -> ast.stmt:
    """An annotated assignment without its type; a field without a value keeps its place."""
    value = node.value or ast.Constant(...)
    return ast.fix_missing_locations(ast.copy_location(ast.Assign([node.target], value), node))
