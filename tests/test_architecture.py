"""Rules about the source itself: import direction, size, names, and what may import what."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "l0compile"
SOURCES = sorted(PACKAGE.rglob("*.py"))

FLOW = (
    "errors", "ir", "hardware", "gates", "attention", "trainers", "quantization", "frontend", "analysis", "rewrite",
    "kernels", "lower", "runtime", "compiler", "measurement", "tasks", "calibration", "studies", "report",
    "cli", "__main__",
)  # fmt: skip
"""Each imports only from those before it."""

WITHIN = {
    "ir": ("ops",),
    "attention": ("attend", "best_places", "patterns", "selectors", "layers", "heads"),
    "hardware": ("statistics", "process", "targets", "costs", "_tvm"),
    "analysis": ("liveness", "coupling"),
    "rewrite": ("normalize", "fuse", "compact", "formats", "layout", "pipeline", "twin"),
    "kernels": ("code_stamp", "tir", "token_tile", "definition", "cpu", "cuda", "registry", "costs"),
    "lower": ("tvm", "aten", "partition", "translate"),
    "runtime": ("artifact", "account", "model"),
    "studies": (
        "pruning", "result", "bench", "constraints", "space", "workers", "study", "fit", "context", "explore", "train",
        "finish", "setup", "run", "entry",
    ),
}  # fmt: skip
"""The same inside a folder, for the parts that are named; the others may be read by all of them."""

PURE_PYTORCH = {
    "ir",
    "hardware",
    "gates",
    "attention",
    "quantization",
    "frontend",
    "analysis",
    "rewrite",
    "report",
}
"""Steps that must work, and be quick to import, where TVM is not installed."""

NOT_MIRRORED = {"data", "examples", "fuzz", "zoo", "docs"}
"""Folders of tests that are about the whole package, or about no part of it."""

MAX_NAMES, MAX_FILES_IN_A_FOLDER = 20, 20
MAX_FILE_LINES, MEDIAN_FILE_LINES, MAX_FUNCTION_LINES = 400, 150, 60
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


@cache
def parsed(path: Path) -> tuple[ast.Module, tuple[str, ...]]:
    """The syntax tree of ``path`` and its module name in parts, a package's own ``__init__`` included."""
    parts = ("l0compile", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path)), parts


def own_imports() -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(where, importing module, what it imports of l0compile) for every import, the package's own file left out."""
    for path in SOURCES:
        tree, module = parsed(path)
        if module != ("l0compile", "__init__"):
            for node, name in imports(tree, module):
                if name.split(".")[0] == "l0compile":
                    yield f"{path}:{node.lineno}", module, name


def step(dotted: str) -> str:
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else ""


def code_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_every_step_is_in_the_flow() -> None:
    found = {parsed(path)[1][1] for path in SOURCES} - {"__init__"}
    assert found == set(FLOW), "add a new step to FLOW and to the docstring of l0compile/__init__.py"


def test_imports_follow_the_flow() -> None:
    back = [
        f"{where}: {module[1]} must not import {step(name)}"
        for where, module, name in own_imports()
        if step(name) in FLOW and FLOW.index(step(name)) > FLOW.index(module[1])
    ]
    assert not back, "\n".join(back)


def test_imports_follow_the_order_within_a_step() -> None:
    back = []
    for where, module, name in own_imports():
        own, part, order = module[2:3], name.split(".")[2:3], WITHIN.get(module[1], ())
        inside = step(name) == module[1] and {*own, *part} <= set(order) and own and part
        if inside and order.index(part[0]) > order.index(own[0]):
            back.append(f"{where}: {'.'.join(module[1:3])} must not import {name}")
    assert not back, "\n".join(back)


def test_no_module_imports_itself_through_others() -> None:
    modules = {".".join(module).removesuffix(".__init__") for module in (parsed(path)[1] for path in SOURCES)}
    graph = nx.DiGraph()
    for _, module, name in own_imports():
        target = name if name in modules else name.rpartition(".")[0]
        source = ".".join(module).removesuffix(".__init__")
        if target in modules - {"l0compile"} and target != source:
            graph.add_edge(source, target)
    assert graph.number_of_edges() > 500
    assert not [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]


def test_only_one_file_imports_tvm_and_pure_steps_do_without() -> None:
    wrong = []
    for path in SOURCES:
        tree, module = parsed(path)
        for node, name in imports(tree, module):
            if name.split(".")[0] == "tvm" and module[1:] != ("hardware", "_tvm"):
                wrong.append(f"{path}:{node.lineno}: only hardware/_tvm.py imports tvm")
            own = module[1:] == ("hardware", "_tvm")
            if name.startswith("l0compile.hardware._tvm") and module[1] in PURE_PYTORCH and not own:
                wrong.append(f"{path}:{node.lineno}: {module[1]} must work without TVM")
    assert not wrong, "\n".join(wrong)


def test_nothing_is_imported_that_runs_code_hidden_in_data() -> None:
    found = [
        f"{path}:{node.lineno}: {name}"
        for path in SOURCES
        for node, name in imports(*parsed(path))
        if name.split(".")[0] in UNSAFE
    ]
    assert not found, "\n".join(found)


# They stand for the heavy third-party package behind them: TVM, which their tables name functions of.
HEAVY = ("l0compile.hardware._tvm", "l0compile.lower.translate")


def test_own_modules_are_imported_at_the_top() -> None:
    late = []
    for path in SOURCES:
        tree, module = parsed(path)
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        for node, name in (found for function in functions for found in imports(function, module)):
            if name.startswith("l0compile.") and not name.startswith(HEAVY):
                late.append(
                    f"{path}:{node.lineno}: import {name} at the top; a cycle would be a design fault"
                )
    assert not late, "\n".join(late)


def test_the_package_and_its_folders_are_small() -> None:
    names = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    names -= {"__init__", "__main__", "__pycache__"}
    assert len(names) <= MAX_NAMES, sorted(names)
    for folder in {path.parent for path in SOURCES}:
        files = len(list(folder.glob("*.py")))
        assert files <= MAX_FILES_IN_A_FOLDER, f"{folder}: {files} files; split it"


def test_files_and_functions_are_short_and_named_for_what_they_do() -> None:
    for path in SOURCES:
        tree, module = parsed(path)
        assert code_lines(path) <= MAX_FILE_LINES, f"{path}: {code_lines(path)} lines; split it"
        assert not VAGUE_NAMES & set(module), f"{path}: name the file for what it does"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= MAX_FUNCTION_LINES, f"{path}:{node.lineno}: {node.name} has {length} lines"


def type_names(tree: ast.Module) -> Iterator[str]:
    """The classes and type aliases of a module, private ones without their underscore."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name.lstrip("_")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id.lstrip("_") for target in targets if isinstance(target, ast.Name)]
            yield from (name for name in names if name[:1].isupper() and not name.isupper())


def test_the_name_of_a_class_or_type_means_one_thing() -> None:
    found: dict[str, list[str]] = {}
    for path in SOURCES:
        for name in type_names(parsed(path)[0]):
            found.setdefault(name, []).append(str(path.relative_to(PACKAGE)))
    shared = {name: places for name, places in found.items() if len(places) > 1 and name != "Task"}
    assert not shared, shared


def test_type_names_are_found() -> None:
    code = "class _One: ...\nTwo = dict[str, int]\nThree: TypeAlias = int\nLIMIT = _number = 3\n"
    assert list(type_names(ast.parse(code + "def f():\n    class Four: ...\n"))) == ["One", "Two", "Three"]


def test_most_files_are_short() -> None:
    lengths = sorted(code_lines(path) for path in SOURCES)
    assert lengths[len(lengths) // 2] <= MEDIAN_FILE_LINES


def test_forbidden_constructs() -> None:
    for path in SOURCES:
        for node in ast.walk(parsed(path)[0]):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{where}: bare except"
            if isinstance(node, ast.ImportFrom):
                assert all(alias.name != "*" for alias in node.names), f"{where}: star import"
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "torch.load"), f"{where}: {called}"


def test_every_step_is_described_in_the_package_docstring() -> None:
    docstring = ast.get_docstring(parsed(PACKAGE / "__init__.py")[0]) or ""
    described = [
        line.split()[0] for line in docstring.splitlines() if line.startswith("    ") and line.strip()
    ]
    assert described == [name for name in FLOW if name not in ("errors", "__main__")]


def test_tests_mirror_the_package() -> None:
    folders = {path.relative_to(TESTS).parent for path in TESTS.rglob("test_*.py")}
    for folder in folders - {Path()}:
        if folder.parts[0] not in NOT_MIRRORED:
            assert (PACKAGE / folder).is_dir(), f"tests/{folder}: there is no l0compile/{folder}"


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import json, sys, l0compile; l0compile.L0CompileError; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(ran.stdout)}
    assert not loaded & {"torch", "tvm", "optuna", "transformers", "matplotlib", "rich", "numpy"}


def test_the_rules_notice_what_they_forbid() -> None:
    code = "from l0compile.studies import a\nfrom ..studies import b\nfrom .. import studies\n"
    code += "import l0compile.studies.c\n"
    found = [name for _, name in imports(ast.parse(code), ("l0compile", "gates", "attach"))]
    assert [step(name) for name in found] == ["studies"] * 4
