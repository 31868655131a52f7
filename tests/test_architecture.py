"""Rules about the source itself: import direction, size, and what may import what."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "l0compile"
SOURCES = sorted(PACKAGE.rglob("*.py"))

FLOW = (
    "errors", "process", "statistics", "records", "conditions", "structure", "tensors", "instructions", "functions",
    "account", "targets", "costs", "_tvm", "ops", "gates", "trainers", "capture", "liveness", "rewrite", "twin",
    "kernels", "schedule", "lower", "artifact", "runtime", "assembly", "verification", "api", "advice",
    "dynamo", "measure", "tune", "result", "tasks", "oneshot", "workers", "search", "report", "cli", "__main__",
)  # fmt: skip

PURE_PYTORCH = {
    "account",
    "targets",
    "costs",
    "ops",
    "gates",
    "capture",
    "liveness",
    "rewrite",
    "twin",
    "artifact",
    "report",
}
"""Steps that must work, and be quick to import, where TVM is not installed."""

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MEDIAN_FILE_LINES = 150
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
UNSAFE = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def imports(tree: ast.AST, module: tuple[str, ...]) -> Iterator[tuple[ast.stmt, str]]:
    """Every import statement under ``tree`` with the full dotted name of each thing it may load."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join((*module[: len(module) - node.level], *filter(None, [node.module])))
            base = base if node.level else node.module or ""
            for alias in node.names:
                yield node, f"{base}.{alias.name}"


def parsed(path: Path) -> tuple[ast.Module, tuple[str, ...]]:
    """The syntax tree of ``path`` and its module name in parts, a package's own ``__init__`` included."""
    parts = ("l0compile", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path)), parts


def step(dotted: str) -> str:
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else ""


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_follow_the_flow(path: Path) -> None:
    tree, module = parsed(path)
    own = module[1]
    if own == "__init__":
        pytest.skip("the package itself names every step, and loads them lazily")
    assert own in FLOW, (
        f"{own} is not a step of the flow; add it to FLOW and to the docstring of l0compile/__init__.py"
    )
    for node, name in imports(tree, module):
        if name.split(".")[0] == "l0compile" and step(name) in FLOW:
            assert FLOW.index(step(name)) <= FLOW.index(own), (
                f"{path}:{node.lineno}: {own} must not import {step(name)}"
            )


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_heavy_and_unsafe_imports(path: Path) -> None:
    tree, module = parsed(path)
    for node, name in imports(tree, module):
        where = f"{path}:{node.lineno}"
        root = name.split(".")[0]
        assert root != "tvm" or module[1] == "_tvm", f"{where}: only _tvm.py imports tvm"
        assert root not in UNSAFE, f"{where}: {root} can run code hidden in data"
        if step(name) == "_tvm" and root == "l0compile":
            assert module[1] not in PURE_PYTORCH, f"{where}: {module[1]} must work without TVM"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_own_modules_are_imported_at_the_top(path: Path) -> None:
    tree, module = parsed(path)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in functions:
        for node, name in imports(function, module):
            # _tvm stands for the heavy third-party package behind it.
            own = name.split(".")[0] == "l0compile" and step(name) not in ("", "_tvm")
            assert not own, (
                f"{path}:{node.lineno}: import {name} at the top; a cycle it would cause is a design fault"
            )


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_sizes_and_names(path: Path) -> None:
    tree, module = parsed(path)
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE_LINES, f"{path}: {lines} lines; split it"
    assert not VAGUE_NAMES & set(module), f"{path}: name the file for what it does"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{path}:{node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_forbidden_constructs(path: Path) -> None:
    tree, _ = parsed(path)
    for node in ast.walk(tree):
        where = f"{path}:{getattr(node, 'lineno', 0)}"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{where}: bare except"
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), f"{where}: star import"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "torch.load"), f"{where}: {called}"


def test_most_files_are_short() -> None:
    lengths = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES)
    assert lengths[len(lengths) // 2] <= MEDIAN_FILE_LINES


def test_every_step_is_described_in_the_package_docstring() -> None:
    docstring = ast.get_docstring(parsed(PACKAGE / "__init__.py")[0]) or ""
    described = [
        line.split()[0] for line in docstring.splitlines() if line.startswith("    ") and line.strip()
    ]
    assert described == [name for name in FLOW if name not in ("errors", "_tvm", "__main__")]


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import json, sys, l0compile; l0compile.L0CompileError; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(ran.stdout)}
    assert not loaded & {"torch", "tvm", "optuna", "transformers", "matplotlib", "rich", "numpy"}


def test_the_rules_notice_what_they_forbid() -> None:
    code = "from l0compile.search import a\nfrom ..search import b\nfrom .. import search\nimport l0compile.search.c\n"
    found = [name for _, name in imports(ast.parse(code), ("l0compile", "gates", "attach"))]
    assert [step(name) for name in found] == ["search"] * 4
