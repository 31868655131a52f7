"""Pages name what exists: tests, files, public names, options; and the site has every page once."""

import ast
import re
from pathlib import Path

import pytest

import l0compile as l0
from l0compile import attention, calibration, tasks, trainers

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if not page.relative_to(DOCS).parts[0].startswith("_"))
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
NAMES = [str(page.relative_to(DOCS)) for page in PAGES]
TO_WRITE = {"softsign"}  # files that a page has its reader write
every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def functions(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    }


def toctree(text: str) -> list[str]:
    blocks = re.findall(r"```\{toctree\}\n(.*?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith(":")]


@every_page
def test_tests_that_are_named_exist(page: Path) -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT[page]):
        assert (ROOT / path).is_file(), f"{page.name}: {path}"
        assert not name or name in functions(ROOT / path), f"{page.name}: {path} has no {name}"


@every_page
def test_files_that_are_named_exist(page: Path) -> None:
    for path in re.findall(
        r"`((?:l0compile|targets|findings|benchmarks|examples|search_spaces|docs)/[\w./-]*)`", TEXT[page]
    ):
        assert (ROOT / path).exists() or Path(path).stem in TO_WRITE, f"{page.name}: {path}"


def test_every_page_is_in_the_site_once() -> None:
    listed = []
    for page, text in TEXT.items():
        for entry in toctree(text):
            base = DOCS if entry.startswith("/") else page.parent
            listed.append((base / entry.lstrip("/")).resolve().relative_to(DOCS))
    found = [page.relative_to(DOCS).with_suffix("") for page in [*PAGES, *DOCS.glob("*.ipynb")]]
    assert sorted(listed) == sorted(page for page in found if page != Path("index"))


@pytest.mark.parametrize(
    "package", [l0, attention, calibration, tasks, trainers], ids=lambda package: package.__name__
)
def test_the_reference_has_every_public_name(package) -> None:  # type: ignore[no-untyped-def]
    public = getattr(package, "__all__", None) or {
        name for name, value in vars(package).items() if _public(name, value)
    }
    documented = set(re.findall(r"\.\. auto\w+:: (\w+)", TEXT[DOCS / "api.md"]))
    modules = {
        "__version__",
        "attention",
        "calibration",
        "tasks",
        "trainers",
        "L0CompileError",
    }  # sections of their own, or nothing to tell
    assert set(public) - modules <= documented


def _public(name: str, value: object) -> bool:
    return not name.startswith("_") and type(value).__name__ != "module"
