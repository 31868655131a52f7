"""What a search tells."""

import pytest

from l0compile.studies.result import Candidate, Latency
from l0compile.studies.study.progress import RichProgress, describe

TRAINED = Candidate(3, {"density.a": 0.5, "shape.a": "4x1"}, "fitted", Latency(2.0, 1.9, 2.1), 0.91234)
FAILED = Candidate(4, {}, "failed", error="BuildError: no kernel for [this]")


def test_lines_say_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    with RichProgress(60.0) as progress:
        progress.phase("trials")
        progress.candidate(TRAINED, TRAINED)
        progress.candidate(FAILED, None)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "trial 3: fitted, 2.00 ms, quality 0.9123 (density.a 0.5, shape.a 4x1)" in captured.err
    # Brackets are text here, not markup.
    assert "trial 4: failed: BuildError: no kernel for [this]" in captured.err


def test_unknown_figures_are_dashes() -> None:
    assert describe(Candidate(0, {}, "one-shot")) == "one-shot, not measured, quality – ()"
