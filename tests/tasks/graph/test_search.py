"""A short search on a graph task: a batch is the whole graph, and the space that is shipped fits the models."""

from pathlib import Path

import numpy as np
import pytest

import l0compile as l0
from l0compile.cli.search import find_space
from l0compile.studies.space.candidate import layers_of
from l0compile.studies.space.read import read_space
from l0compile.tasks.graph import GCN, NodeData

SPACE = """
[task]
name = "cora"
width = 16
epochs = 30

[latency]
ms = 50.0
reference = "pytorch"

[search]
trials = 2
seconds = 45
finalists = 1
sweep = [1.0]

[training]
candidate_steps = 3
tune_steps = 10
weight_rate = 5e-3

[[gates]]
name = "embedding"
kind = "neuron"
patterns = ["classify.linear"]
density = [0.25, 1.0]

[[gates]]
name = "first"
kind = "block"
patterns = ["first.linear"]
shapes = ["4x1"]
density = [0.1, 0.8]

[feeds]
"first.linear" = "classify.linear"
"""


def test_the_shipped_space_fits_the_model() -> None:
    found = layers_of(GCN(20, 64, 7), read_space(find_space("cora")))
    assert found == {"embedding": ("classify.linear",), "first": ("first.linear",)}


@pytest.mark.slow
def test_a_search_runs_through(graph: NodeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L0COMPILE_CACHE", str(tmp_path / "cache"))
    rows = np.repeat(np.arange(300), graph.neighbours.degrees().numpy())
    words, places = (graph.features.numpy() > 0.8).nonzero()[::-1]
    counts = np.bincount(places, minlength=300)
    parts = {
        key: graph.parts[part].numpy()
        for key, part in (("train_idx", "train"), ("val_idx", "validation"), ("test_idx", "held_out"))
    }
    edges = np.stack([graph.neighbours.of.numpy(), rows], 1)
    np.savez(
        tmp_path / "cora.npz", x_indptr=np.cumsum([0, *counts]), x_indices=words, x_shape=np.array([300, 24]),
        y=graph.labels.numpy(), edges=edges[edges[:, 1] < edges[:, 0]],
        **parts,
    )  # fmt: skip
    (tmp_path / "space.toml").write_text(SPACE, encoding="utf-8")
    result = l0.search(tmp_path / "space.toml", tmp_path / "out", text=tmp_path)
    chosen = result.chosen
    assert chosen is not None and l0.load(tmp_path / "out" / "model") is not None
