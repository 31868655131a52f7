"""A hash of the code that a function reaches: cost records carry it, and hold for that code only.

Text that does not change what is computed does not count: comments, docstrings, annotations, imports, the module that
a function lies in, and functions that are not reached.

To find that out takes a tenth of the time in which a model is compiled whose code is kept. So stamps are kept too, in
files named by a hash of everything that they could depend on.
"""

import ast
import functools
import hashlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l0compile.hardware.cache_folder import cache_folder
from l0compile.hardware.targets import Core

_log = logging.getLogger("l0compile")

# Where the code of kernels lies; what they import from elsewhere only carries data or raises errors.
_FOLLOWED, _NOT_FOLLOWED = ("l0compile.kernels.", "l0compile.ir."), "l0compile.kernels.tir"
_CORE = tuple(Core.__dataclass_fields__)


@functools.cache
def code_stamp(function: Callable[..., Any], core: Core) -> str:
    """Hash ``function``, all that it reaches in kernels and operators, and the numbers of ``core`` that these read."""
    folder = cache_folder()
    if folder is None:
        return _made(function, core)
    names = sorted(name for name in sys.modules if name.startswith(_FOLLOWED) or name == function.__module__)
    parts = (sys.version, _sources(tuple(names)), function.__module__, function.__qualname__, repr(core))
    path = folder / "stamps" / hashlib.sha256("\n".join(parts).encode()).hexdigest()
    try:
        kept = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        kept = ""
    if re.fullmatch("[0-9a-f]{12}", kept):
        return kept
    made = _made(function, core)
    _keep(path, made)
    return made


def _keep(path: Path, stamp: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="ascii") as file:
            file.write(stamp)
        os.replace(file.name, path)
    except OSError as error:
        _log.info("%s: a stamp is not kept: %s", path.parent, error)


@functools.cache
def _sources(modules: tuple[str, ...]) -> str:
    """Hash the text of modules."""
    found = hashlib.sha256()
    for name in modules:
        path = getattr(sys.modules[name], "__file__", None)
        found.update(f"{name}\0".encode() + (Path(path).read_bytes() if path else b"") + b"\0")
    return found.hexdigest()


def _made(function: Callable[..., Any], core: Core) -> str:
    found: dict[tuple[str, str], _Definition | None] = {}
    todo = [(function.__module__, function.__name__)]
    while todo:
        place = todo.pop()
        if place not in found:
            found[place] = definition = _definition(*place)
            todo += definition.reached if definition else ()
    definitions = [definition for definition in found.values() if definition]
    fields = {name for definition in definitions for name in definition.attributes} & set(_CORE)
    numbers = [f"{name} = {getattr(core, name)}" for name in sorted(fields)]
    texts = sorted(definition.text for definition in definitions)
    return hashlib.sha256("\n".join([*texts, *numbers]).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class _Definition:
    """A function, class or constant of a module: its code, the (module, name) pairs it reads, names after a dot."""

    text: str
    reached: tuple[tuple[str, str], ...]
    attributes: frozenset[str]


@functools.cache
def _definition(module: str, name: str) -> _Definition | None:
    statement, imported = _module(module).definitions.get(name), _module(module).imported
    if statement is None:
        return None
    for node in ast.walk(statement):
        _strip_words(node)
    nodes = list(ast.walk(statement))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    attributes = frozenset(node.attr for node in nodes if isinstance(node, ast.Attribute))
    return _Definition(ast.unparse(statement), tuple(imported.get(n, (module, n)) for n in names), attributes)


@dataclass(frozen=True)
class _Module:
    """definitions: name -> statement that defines it. imported: name -> (module, its name there)."""

    definitions: dict[str, ast.stmt]
    imported: dict[str, tuple[str, str]]


@functools.cache
def _module(name: str) -> _Module:
    path = sys.modules[name].__file__
    assert path is not None
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
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
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))


def _strip_words(node: ast.AST) -> None:
    """Remove the docstring and the annotations of one node."""
    if isinstance(node, ast.FunctionDef):
        node.returns = None
    elif isinstance(node, ast.arg):
        node.annotation = None
    elif isinstance(node, ast.AnnAssign):
        node.annotation = ast.Constant(None)
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node, clean=False) is not None:
        node.body[0] = ast.Pass()
