"""The page of a paper: every number of the tables, what is missing, and a warning after a quick run."""

import dataclasses

import pytest
import torch

from l0compile.calibration import calibration_of_logits
from l0compile.measurement import Ratio
from l0compile.report.pages.paper_page import render_paper
from l0compile.report.paper_cells import TITLES, row_cells
from l0compile.report.terminal import paper_table
from l0compile.report.write import write_paper
from l0compile.studies.paper.result import SCORES, Paper, PaperRow, PaperTable, Spread
from l0compile.studies.paper.timing import PaperTiming


def row(fraction: float | None, accuracy: float) -> PaperRow:
    scores = {name: Spread(accuracy if name == "accuracy" else 0.1 * accuracy, 0.002) for name in SCORES}
    timing = PaperTiming("adult-seed0-0.25", 1.25, 1.2, 1.3, faster=Ratio(1.5, 1.4, 1.6))
    return PaperRow(
        fraction, fraction or 1.0, scores, scores, Spread(1.1, 0.01), Spread(12.0, 1.0), 0, 1e-6, 123_000,
        None if fraction is None else timing,
    )  # fmt: skip


@pytest.fixture(scope="module")
def paper() -> Paper:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (300,), generator=generator)
    logits = torch.randn(300, 2, generator=generator) + 2.0 * torch.nn.functional.one_hot(labels, 2)
    reports = calibration_of_logits(
        {"dense": (logits, logits), "25% of the features": (0.5 * logits, 0.5 * logits)}, labels, labels,
        resamples=50,
    )  # fmt: skip
    table = PaperTable(
        "adult", "Adult <b>", "Trees are better.", "UCI", 16281,
        (row(None, 0.8591), row(0.5, 0.8581), row(0.25, 0.8571)),
        (PaperTiming("onnxruntime", 1.9, 1.8, 2.0), PaperTiming("openvino", None, None, None, "not installed")),
        {name: Spread(-0.002, 0.001) for name in SCORES}, tuple(reports.values()),
    )  # fmt: skip
    return Paper((table,), 5, 1.0, {"imdb": "expected train-00.jsonl.gz"}, {"machine": "made up"})


def test_the_page_has_every_number(paper: Paper) -> None:
    page = render_paper(paper)
    for cell in (*TITLES, "0.8591 ± 0.0020", "1.50×", "25.0%", "0.12", "1.9 ms [1.8, 2]", "-0.0020 ± 0.0010"):
        assert cell in page, cell
    assert "Adult &lt;b&gt;" in page and "Adult <b>" not in page
    assert "could not run: not installed" in page and "expected train-00.jsonl.gz" in page
    assert "ogbn-products" in page and "not public" in page and "quick run" not in page
    assert page.count("<svg") >= 4


def test_a_quick_run_is_called_one(paper: Paper) -> None:
    assert "WARNING: this was a quick run" in render_paper(dataclasses.replace(paper, shorten=0.1))


def test_cells_and_the_terminal(paper: Paper) -> None:
    dense, _, quarter = (row_cells(each) for each in paper.tables[0].rows)
    assert len(dense) == len(quarter) == len(TITLES)
    assert dense[0] == "dense" and dense[-4:] == ["–", "–", "0", "0.12"]
    assert paper_table(paper.tables[0]).row_count == 3


def test_files(paper: Paper, tmp_path: object) -> None:
    names = [path.name for path in write_paper(paper, str(tmp_path))]
    assert names == ["paper.html", "adult-accuracy.png", "adult-ece.png", "adult-reliability.png"]
