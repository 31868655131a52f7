"""Data and models of PyTorch Geometric: as tasks, with gates, and compiled."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.errors import DataError
from l0compile.tasks import train
from l0compile.tasks.graph import GCN, GraphOptions, NodeData, from_geometric


def attributes(graph: NodeData) -> dict[str, Any]:
    rows = torch.arange(300).repeat_interleave(graph.neighbours.degrees())
    masks = {}
    for part, name in (("train", "train_mask"), ("validation", "val_mask"), ("held_out", "test_mask")):
        masks[name] = torch.zeros(300, dtype=torch.bool)
        masks[name][graph.parts[part]] = True
    edges = torch.stack([graph.neighbours.of, rows])
    return {"x": graph.features, "edge_index": edges, "y": graph.labels[:, None], **masks}


def test_data_becomes_a_task_of_ours_with_the_same_graph(graph: NodeData) -> None:
    task = from_geometric(SimpleNamespace(**attributes(graph)), GraphOptions(model="sage"))
    assert torch.equal(task.data.neighbours.of, graph.neighbours.of)
    assert torch.equal(task.labels("held_out"), graph.labels[graph.parts["held_out"].sort().values])
    split = {
        "train": graph.parts["train"],
        "valid": graph.parts["validation"],
        "test": graph.parts["held_out"],
    }
    without = {key: value for key, value in attributes(graph).items() if not key.endswith("mask")}
    task = from_geometric(SimpleNamespace(**without), split=split)
    assert torch.equal(task.data.parts["validation"], graph.parts["validation"])
    assert isinstance(task.build(0), GCN) and task.data.neighbours.edges == 3300
    with pytest.raises(
        DataError, match="without train_mask, val_mask, test_mask; give the nodes of each part as"
    ):
        from_geometric(SimpleNamespace(**without))
    with pytest.raises(DataError, match="expected train, valid and test, got train"):
        from_geometric(SimpleNamespace(**without), split={"train": split["train"]})


class Layers(nn.Module):
    """Two layers of PyTorch Geometric, ``embedding`` between them."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.embedding, self.classify = first, nn.ReLU(), second

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        return self.classify(self.embedding(self.first(x, edges)), edges)


@pytest.mark.parametrize("kind", ["GCNConv", "SAGEConv"])
def test_their_layers_train_with_gates_and_compile(graph: NodeData, kind: str) -> None:
    geometric = pytest.importorskip("torch_geometric", reason="the extra 'graphs' is not installed")
    layer: Callable[..., nn.Module] = getattr(pytest.importorskip("torch_geometric.nn"), kind)
    data = geometric.data.Data(**attributes(graph))
    made = lambda: Layers(layer(24, 16), layer(16, 4))  # noqa: E731
    task = from_geometric(data, GraphOptions(epochs=60), model=made)
    net = task.build(0)
    train(task, net, task.recipe(0))
    l0.attach(net, {"embedding": l0.Feature(16)})
    schedule = replace(task.recipe(0), average=0.0)
    train(task, net, schedule, budget=l0.Budget(net, 0.5, schedule.steps))
    l0.harden(net, 0.5, scope="group", values="binary")
    train(task, net, replace(schedule, steps=40))
    assert task.quality(net, "held_out") > 0.5  # chance is 0.25
    compiled = l0.compile(net, task.example(), engine="tvm")
    ours, theirs = (task.logits(code, "held_out") for code in (compiled, net))
    assert torch.equal(ours.argmax(1), theirs.argmax(1))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
