"""What is tuned for a model and for shapes."""

import pytest
import torch
from torch import nn

from l0compile.errors import ConfigError
from l0compile.hardware.costs import KernelWorkload
from l0compile.hardware.targets import load_target
from l0compile.measurement.tune import in_precisions, model_workloads, pruned, shape_workloads


def test_a_model_gives_the_work_of_its_kernels() -> None:
    model = nn.Sequential(
        nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 64)
    ).eval()
    with torch.no_grad():
        model[2].weight.view(16, 4, 64)[:12] = 0
    found = model_workloads(model, (torch.randn(100, 16),), load_target("x86-64-avx512"))
    assert KernelWorkload("linear", (64, 16), None, 1.0, 100, "gelu") in found
    assert KernelWorkload("norm", (64,), tokens=100, variant="layer") in found
    assert KernelWorkload("pack", (16,), tokens=100, variant="pack") in found
    assert len(found) == len(set(found))


def test_shapes_and_what_pruning_makes_of_them() -> None:
    dense = shape_workloads(["8x16"], [1, 64])
    assert dense == (
        KernelWorkload("linear", (8, 16), tokens=1),
        KernelWorkload("linear", (8, 16), tokens=64),
    )
    assert pruned(dense, [(4, 1)], [0.5, 0.2])[2:] == tuple(
        KernelWorkload("linear", (8, 16), (4, 1), d, t) for d in (0.5, 0.2) for t in (1, 64)
    )
    norm = KernelWorkload("norm", (8,), variant="rms")
    assert pruned([norm], [(4, 1)], [0.5]) == (norm,)
    for text in ("8", "0x8", "8x", "8x8x8", "99999999x1"):
        with pytest.raises(ConfigError, match="expected OUTxIN"):
            shape_workloads([text], [1])


def test_layers_in_other_precisions() -> None:
    dense = shape_workloads(["8x16"], [64])
    both = in_precisions([*dense, KernelWorkload("norm", (8,), tokens=64)], ["int8"])
    assert [(work.op, work.dtype) for work in both] == [
        ("linear", "float32"),
        ("norm", "float32"),
        ("linear", "int8"),
    ]
    blocks = {(work.block, work.dtype) for work in pruned(both, [(4, 1), (4, 4)], [0.5]) if work.block}
    # Integers are skipped by whole words of four.
    assert blocks == {((4, 1), "float32"), ((4, 4), "float32"), ((4, 4), "int8")}
