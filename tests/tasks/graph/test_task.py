"""Graph tasks on a small graph: training, gates, the compiled model, and the search space."""

from dataclasses import replace
from typing import Literal

import pytest
import torch

import l0compile as l0
from l0compile.errors import ConfigError
from l0compile.tasks import list_tasks, task_options, train
from l0compile.tasks.graph import (
    GraphOptions,
    GraphSAGE,
    GraphTask,
    Neighbours,
    NodeData,
    SampledTask,
    all_nodes,
)

MODELS: tuple[Literal["gcn", "sage"], ...] = ("gcn", "sage")


def made(graph: NodeData, model: Literal["gcn", "sage"]) -> GraphTask:
    if model == "gcn":
        rows = torch.arange(300).repeat_interleave(graph.neighbours.degrees())
        edges = torch.stack([graph.neighbours.of, rows])
        graph = replace(graph, neighbours=Neighbours.from_edges(edges, 300, both=False, loops=True))
    return GraphTask(graph, GraphOptions(model=model, width=16, epochs=60))


@pytest.mark.parametrize("model", MODELS)
def test_training_gates_and_compiled_code(
    graph: NodeData,
    model: Literal["gcn", "sage"],
    tmp_path: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("L0COMPILE_CACHE", str(tmp_path))
    task = made(graph, model)
    net = task.train_dense(0)
    dense = task.quality(net, "held_out")
    assert dense > 0.8  # chance is 0.25
    assert all(
        torch.equal(a, b) for a, b in zip(net.parameters(), task.train_dense(0).parameters(), strict=True)
    )
    l0.attach(net, {task.representation: l0.Feature(16)})
    schedule = replace(task.recipe(0), average=0.0)
    train(task, net, schedule, budget=l0.Budget(net, 0.25, schedule.steps))
    l0.harden(net, 0.25, scope="group", values="binary")
    train(task, net, replace(schedule, steps=120))
    assert task.quality(net, "held_out") > 0.6
    compiled = l0.compile(net, task.example(), engine="tvm")
    ours, theirs = (task.logits(code, "held_out").argmax(1) for code in (compiled, net))
    assert torch.equal(ours, theirs)
    text = str(compiled.explain())
    assert "12 of 16" in text  # features that are gone, in the layer that makes them


def test_the_decay_counts_in_training_alone_and_spares_the_classifier(graph: NodeData) -> None:
    task = made(graph, "gcn")
    net, batch = task.build(0), next(task.batches(1, 0))
    plain = task.loss(net, batch)
    net.dropout.dropped = 0
    decayed = task.loss(net.train(), batch)
    squares = net.first.linear.weight.square().sum()
    torch.testing.assert_close(decayed - plain, 0.5 * 5e-4 * squares, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("project_first", [True, False])
def test_inference_in_chunks_is_that_of_the_whole_graph(graph: NodeData, project_first: bool) -> None:
    net = GraphSAGE(24, 16 if project_first else 40, 4, layers=3).eval()
    l0.attach(net, {"embedding": l0.Feature(net.classify.own.in_features)}, init=0.6)
    l0.harden(net, 0.5, scope="group", values="binary")
    lists = graph.neighbours
    with torch.no_grad():
        expected = net(graph.features, lists.of, lists.starts)
    torch.testing.assert_close(all_nodes(net, graph.features, lists, at_once=70), expected)


def test_training_on_samples_learns_and_any_graph_runs_the_compiled_code(graph: NodeData) -> None:
    task = SampledTask(graph, GraphOptions(model="sage", width=32, dropout=0.0), fanouts=(5, 5), batch=30)
    net = task.build(0)
    before = task.quality(net, "held_out")
    train(task, net, replace(task.recipe(0), steps=60))
    assert task.quality(net, "held_out") > max(0.75, before + 0.2)
    compiled = l0.compile(net, task.example(), dynamic_shapes=task.dynamic_shapes(), engine="tvm")
    other = Neighbours.from_edges(torch.randint(0, 77, (2, 190)), 77)
    args = (torch.randn(77, 24), other.of, other.starts)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*args), net(*args), rtol=1e-4, atol=1e-5)


def test_options_are_checked_and_the_task_is_known() -> None:
    assert "cora" in list_tasks()
    assert task_options("cora", {"model": "sage", "width": 16}) == GraphOptions("sage", 16)
    wrong = (({"width": 1}, "width: expected 4 to"), ({"dropout": 1.0}, "dropout"), ({"model": "x"}, "gcn"))
    for values, told in wrong:
        with pytest.raises(ConfigError, match=told):
            task_options("cora", values)
