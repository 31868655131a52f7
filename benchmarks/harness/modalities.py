"""A shared transformer at half of its compute: features of modalities gated, then heads and neurons."""

import copy
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import l0compile as l0
from l0compile.gates import Budget, Feature, attach, harden, named_gates
from l0compile.measurement import Protocol, measure
from l0compile.tasks import Schedule, train
from l0compile.tasks.multimodal import ModalityWatch, ablate
from l0compile.tasks.multimodal.compute import compute_gates
from l0compile.tasks.multimodal.examples import ModalityTask
from l0compile.tasks.multimodal.transformer import SharedTransformer
from l0compile.tasks.multimodal.watch import active_share


@dataclass(frozen=True)
class Halving:
    """active: share of features that stays open. compute: share of multiply-adds. floor: least share of each modality's
    gates in each layer. steps: of each of the two trainings with gates, and of the last one without."""

    active: float = 0.5
    compute: float = 0.5
    floor: float = 0.1
    steps: int = 250
    rate: float = 1e-3

    def schedule(self, seed: int) -> Schedule:
        """Make the schedule of one of the three trainings."""
        return Schedule(
            self.steps, 128, self.rate, seed=seed + 1000, weight_decay=0.1, embeddings=True, full_steps=0
        )


def halved(task: ModalityTask, seed: int, how: Halving) -> tuple[SharedTransformer, dict[str, Any]]:
    """Gate, harden and fine-tune the dense model of a seed; return it with what the watch saw."""
    model = copy.deepcopy(task.train_dense(seed))
    assert isinstance(model, SharedTransformer)
    feature = Feature(model.width)
    attach(model, {"between.*.*": feature, "representation": feature})
    with ModalityWatch(model, floors=dict.fromkeys(task.modalities, how.floor)) as watch:
        budget = Budget(model, how.active, how.steps)
        train(task, model, how.schedule(seed), budget=budget, on_step=watch.step)
        harden(model, how.active, floors=watch.harden_floors)
        found = {
            "active": achieved(model),
            "active_by_modality": {
                name: active_share(model, f"between.*.{name}") for name in task.modalities
            },
            "least_layer": min(
                float(gate.z.ne(0).double().mean())
                for name, gate in named_gates(model).items()
                if "between." in name
            ),
            "after_features": task.quality(model, "held_out"),
        }
        tokens = 1 + sum(part.shape[1] for part in token_parts(model, task))
        plan = compute_gates(model, tokens)
        attach(model, plan.gates)
        budget = Budget(model, how.compute, how.steps, cost=plan.cost, feeds=plan.feeds)
        train(task, model, how.schedule(seed), budget=budget, on_step=watch.step)
        harden(model, budget, only="layers.*")
        train(task, model, how.schedule(seed), on_step=watch.step)
        last = watch.readings[-1].modalities
        found |= {
            "gradient_by_modality": {name: round(presence.gradient, 4) for name, presence in last.items()},
            "collapsed": sorted({name for reading in watch.readings for name in reading.collapsed}),
        }
    return model, found


def achieved(model: nn.Module) -> float:
    """Return the share of gates that are open."""
    opened = torch.cat([gate.z.ne(0).reshape(-1) for gate in named_gates(model).values()])
    return float(opened.double().mean())


def token_parts(model: SharedTransformer, task: ModalityTask) -> list[Tensor]:
    """Return the tokens of each modality of the example."""
    with torch.no_grad():
        return [make(given) for make, given in zip(model.tokens.values(), task.example(), strict=True)]


def multiply_adds(model: nn.Module, args: tuple[Tensor, ...]) -> float:
    """Count the multiply-adds of one example in the smallest equal model, attention included."""
    smallest = l0.compact(model, args)
    # The counter knows attention only as two products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        smallest(*args)
    return counter.get_total_flops() / 2 / len(args[0])


def compared(task: ModalityTask, dense: nn.Module, small: nn.Module) -> dict[str, Any]:
    """Compare quality, compute, latency and compiled answers of the dense and the halved model."""
    args, shapes = task.example(), task.dynamic_shapes()
    compiled = {
        "dense": l0.compile(dense, args, dynamic_shapes=shapes, engine="tvm", ignore_zeros=True),
        "half": l0.compile(small, args, dynamic_shapes=shapes, engine="tvm"),
    }
    hardened, answers = task.logits(small, "held_out"), task.logits(compiled["half"], "held_out")
    times: dict[str, list[float]] = {name: [] for name in compiled}
    for _ in range(5):  # in turns
        for name, call in compiled.items():
            times[name].append(measure(call, args, Protocol.quick()).median_ms)
    dense_lost, small_lost = ablate(task, dense), ablate(task, small)
    return {
        "accuracy": {"dense": dense_lost.quality, "half": small_lost.quality},
        "compute": multiply_adds(small, args) / multiply_adds(dense, args),
        "ms": {name: round(sorted(found)[2], 4) for name, found in times.items()},
        "flips": int((hardened.argmax(1) != answers.argmax(1)).sum()),
        "largest_difference": float((hardened - answers).abs().max()),
        "examples": len(answers),
        "without": {"dense": dict(dense_lost.without), "half": dict(small_lost.without)},
        "changed": {"dense": dict(dense_lost.changed), "half": dict(small_lost.changed)},
    }


def timed(task: ModalityTask, seed: int) -> tuple[float, float]:
    """Return the held-out accuracy of the dense model of a seed, and the seconds of its training (or of reading it)."""
    begun = time.monotonic()
    model = task.train_dense(seed)
    return task.quality(model, "held_out"), time.monotonic() - begun
