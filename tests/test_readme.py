"""The README's Python runs as it stands there, in an empty folder; its commands and names are those there are."""

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import l0compile as l0
from l0compile.cli.parser import build_parser
from l0compile.studies.entry import search_model
from tests.children import run_script

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if "_" not in page.relative_to(DOCS).parts[0][0]),
]
NAMES = ["README", *(str(page.relative_to(DOCS)) for page in PAGES[1:])]
# One thread: a step of this model is too short to be shared between several.
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


WITH_PYTHON = [page for page in PAGES[1:] if python_blocks(page.read_text(encoding="utf-8"))]


def test_python_block_runs(tmp_path: Path) -> None:
    (code,) = python_blocks(README)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **ENVIRONMENT},
    )
    assert done.returncode == 0, done.stderr
    assert "bsr" in done.stdout
    assert (tmp_path / "fast" / "manifest.json").exists()


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: str(page.relative_to(DOCS)))
def test_python_blocks_of_docs_run(page: Path, tmp_path: Path) -> None:
    """One after another, as a reader would: a block may use what those above it made."""
    run_script("\n".join(python_blocks(page.read_text(encoding="utf-8"))), tmp_path, ENVIRONMENT)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_are_valid(page: Path) -> None:
    parser = build_parser()
    text = page.read_text("utf-8")
    shown = "\n".join(re.findall(r"```shell\n(.*?)```", text, flags=re.DOTALL))
    indented = re.findall(r"^    ((?:torchrun .* -m )?l0compile .*)$", text, flags=re.MULTILINE)
    for line in re.findall(
        r"^(?:torchrun .* -m )?l0compile (.*)$", "\n".join([shown, *indented]), flags=re.MULTILINE
    ):
        command = shlex.split(re.split(r"\s{2,}", line)[0])
        assert parser.parse_args(command).command == command[0], line


def test_names_are_public() -> None:
    named = set(re.findall(r"\bl0\.(\w+)", README))
    assert named >= {"compile", "harden", "search"} and named <= set(l0.__all__)


def test_the_search_that_is_shown_fits_the_function() -> None:
    block = re.search(r"^    result = (l0\.search\(.*?^    \))", README, flags=re.DOTALL | re.MULTILINE)
    assert block is not None
    keywords = set(re.findall(r"\b(\w+)=", block[1]))
    assert keywords and keywords <= set(inspect.signature(search_model).parameters)


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"
