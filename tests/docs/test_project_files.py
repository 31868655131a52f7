"""What people look for beside the code says the same as the code."""

import re
from pathlib import Path

import l0compile

ROOT = Path(__file__).parents[2]
FINDINGS = sorted((ROOT / "findings").glob("*.sh"))


def test_citation_and_changelog_know_the_version() -> None:
    assert f"version: {l0compile.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "\n## Unreleased\n" in changes and f"\n## {l0compile.__version__} " in changes


def test_the_workflow_runs_what_a_change_must_pass() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert "- run: .ci/run\n" in workflow and "path: docs/_build/html\n" in workflow
    steps = re.findall(r"^make (\w+)$", (ROOT / ".ci" / "run").read_text("utf-8"), flags=re.MULTILINE)
    assert steps == ["lint", "docs", "test"], "pytest's closing line is the last thing printed"


def test_a_finding_is_guessed_seen_pinned_and_asserted() -> None:
    assert FINDINGS
    for script in FINDINGS:
        text = script.read_text("utf-8")
        assert "\n# Guess:" in text and "\n# Seen:" in text, script.name
        installed = re.findall(r"pip\" install (.*)", text)
        assert installed and all(
            "==" in word for line in installed for word in line.split() if word[0] != "-"
        )
        assert re.search(r"\bassert\b|\btest |exit 1", text) and "l0compile" not in re.sub(
            r"#.*", "", text
        ), script.name


def test_the_glossary_has_fifteen_terms_in_order() -> None:
    terms = re.findall(
        r"^([^\n:#][^\n]*)\n: ", (ROOT / "docs" / "glossary.md").read_text("utf-8"), flags=re.MULTILINE
    )
    assert len(terms) == 15 and terms == sorted(terms, key=str.lower)
