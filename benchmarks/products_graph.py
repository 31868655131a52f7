"""Claim: a graph of ogbn-products' size trains and infers in less than 20 GB, and zeros make its inference quicker.

    python benchmarks/products_graph.py [--nodes 2449029] [--steps 150] [--fraction 0.25] [--threads 2] [--no-record]

The graph is synthetic (see ``l0compile/tasks/graph/synthetic.py``); fewer nodes have proportionally fewer edges.
GraphSAGE with 128 features trains on sampled neighbours, dense and then with feature gates on its embedding, which are
hardened to the fraction. Inference of all nodes from all their neighbours: the hardened model compiled, against the
same in eager PyTorch in its best form of three (whole layers with ``embedding_bag``, layers in chunks, products with a
sparse matrix), timed in turns. Appends to ``benchmarks/results/products_graph.jsonl``.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from harness import record
from torch import Tensor

import l0compile as l0
from l0compile.gates import hardening
from l0compile.tasks import train
from l0compile.tasks.graph import (
    GraphOptions,
    GraphSAGE,
    SampledTask,
    SyntheticGraph,
    all_nodes,
    synthetic_graph,
)

WIDTH = 128
# The compiled code takes any number of nodes; it is traced and verified on a graph of this size.
EXAMPLE = SyntheticGraph(nodes=20_000, edges=400_000, seed=1)


def main() -> None:
    """Run everything, print and record the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=SyntheticGraph.nodes)
    parser.add_argument(
        "--steps", type=int, default=150, help="of each of three trainings: dense, gates, hardened"
    )
    parser.add_argument(
        "--fraction", type=float, default=0.25, help="of the features that stay (default 0.25)"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="inferences of each form")
    parser.add_argument("--no-record", action="store_true", help="print only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    row: dict[str, Any] = {"nodes": options.nodes, "fraction": options.fraction, "threads": options.threads}
    begun = time.monotonic()
    spec = replace(SyntheticGraph(), nodes=options.nodes)
    spec = replace(spec, edges=round(spec.edges * spec.nodes / SyntheticGraph.nodes))
    task = SampledTask(
        synthetic_graph(spec), GraphOptions(model="sage", width=WIDTH, dropout=0.0, weight_rate=3e-3)
    )
    row |= {"edges": task.data.neighbours.edges, "made_s": since(begun), "made_gb": peak_gb()}
    print(row, flush=True)
    model = task.build(0)
    assert isinstance(model, GraphSAGE)
    row |= trained(task, model, options.steps, options.fraction)
    row |= {"trained_gb": peak_gb()}
    print(row, flush=True)
    row |= inferred(task, model, options.rounds, options.threads)
    row |= {"peak_gb": peak_gb(), "seconds": since(begun)}
    print(row)
    if not options.no_record:
        record.append("products_graph", row)


def trained(task: SampledTask, model: GraphSAGE, steps: int, fraction: float) -> dict[str, Any]:
    """Train dense, train gates, harden, train on, all on samples."""
    schedule = replace(task.recipe(0), steps=steps)
    found = {"dense_s": round(train(task, model, schedule).seconds, 1)}
    found["dense_validation"] = accuracy(task, model)
    l0.attach(model, {task.representation: l0.Feature(WIDTH)})
    gates = replace(schedule, average=0.0, seed=1)
    found["gates_s"] = round(train(task, model, gates, budget=l0.Budget(model, fraction, steps)).seconds, 1)
    l0.harden(model, fraction, scope="group", values="binary")
    train(task, model, replace(schedule, seed=2))
    kept = hardening(model)
    assert kept is not None
    return found | {"achieved": kept.density, "hardened_validation": accuracy(task, model)}


def accuracy(task: SampledTask, model: GraphSAGE) -> float:
    """Return the accuracy on the validation nodes, from all neighbours."""
    rows = task.data.parts["validation"]
    logits = all_nodes(model, task.data.features, task.data.neighbours)[rows]
    return round(float((logits.argmax(1) == task.data.labels[rows]).double().mean()), 4)


def inferred(task: SampledTask, model: GraphSAGE, rounds: int, threads: int) -> dict[str, Any]:
    """Time the inference of all nodes in every form, in turns, and compare the results."""
    small = SampledTask(synthetic_graph(EXAMPLE), task.options)
    compiled = l0.compile(
        model, small.example(), dynamic_shapes=small.dynamic_shapes(), engine="tvm", threads=threads
    )
    data = task.data
    forms: dict[str, Callable[[], Tensor]] = {
        "compiled": lambda: compiled(*task.example()),
        "eager": lambda: model(*task.example()),
        "chunks": lambda: all_nodes(model, data.features, data.neighbours),
        "sparse": sparse(model, task),
    }
    times: dict[str, list[float]] = {name: [] for name in forms}
    results: dict[str, Tensor] = {}
    for _ in range(rounds + 1):  # the first time is for memory to be there
        for name, form in forms.items():
            begun = time.monotonic()
            with torch.inference_mode():
                results[name] = form()
            times[name].append(time.monotonic() - begun)
            print(f"  {name}: {times[name][-1]:.2f} s", flush=True)
    medians = {name: round(statistics.median(found[1:]), 3) for name, found in times.items()}
    best = min((name for name in forms if name != "compiled"), key=lambda name: medians[name])
    ours, theirs = results["compiled"], results[best]
    return {
        "seconds_of": medians, "best_eager": best, "ratio": round(medians[best] / medians["compiled"], 3),
        "flips": int((ours.argmax(1) != theirs.argmax(1)).sum()),
        "largest_difference": float((ours - theirs).abs().max()),
        "largest_logit": float(theirs.abs().max()),
    }  # fmt: skip


def sparse(model: GraphSAGE, task: SampledTask) -> Callable[[], Tensor]:
    """Return the inference by products with the sparse matrix of means, with 32-bit indices as MKL takes them."""
    lists, nodes = task.data.neighbours, task.data.neighbours.nodes
    degrees = lists.degrees()
    values = degrees.float().reciprocal().repeat_interleave(degrees)
    bounds = torch.cat([lists.starts, torch.tensor([lists.edges])]).int()
    matrix = torch.sparse_csr_tensor(bounds, lists.of.int(), values, (nodes, nodes), check_invariants=False)

    def infer() -> Tensor:
        x = task.data.features
        for layer in (*model.hidden, model.classify):
            others = matrix @ layer.others(x) if layer.project_first else layer.others(matrix @ x)
            others += layer.own(x)
            x = others if layer is model.classify else model.embedding(others)
        return x

    return infer


def since(begun: float) -> float:
    """Return the seconds since ``begun``."""
    return round(time.monotonic() - begun, 1)


def peak_gb() -> float:
    """Return the largest resident memory of this process so far, in 10^9 bytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)


if __name__ == "__main__":
    main()
