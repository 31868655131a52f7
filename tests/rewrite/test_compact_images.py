"""compact and gather_channels over images, lines and volumes: same results, and dead channels are gone."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.compact.compact import compact
from l0compile.rewrite.compact.gather_channels import gather_channels
from l0compile.rewrite.passes import select
from l0compile.rewrite.pipeline import FUSE, NORMALIZE
from l0compile.rewrite.regions import record_regions
from l0compile.rewrite.runner import run

from .image_models import MODELS


@cache
def program(name: str) -> Program:
    torch.manual_seed(0)
    build, sizes, names = MODELS[name]
    return run(
        capture(build().eval(), (torch.randn(sizes),), dynamic_shapes={"x": names}),
        select((NORMALIZE, FUSE), own_operators=False),
    )


def zeroed(value: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """Whole channels of zeros along the first two axes; an index stays what it is."""
    if not value.dtype.is_floating_point:
        return value
    for axis in range(min(value.ndim, 2)):
        keep = torch.rand(value.shape[axis], generator=generator) >= share
        value = value * keep.reshape([-1 if a == axis else 1 for a in range(value.ndim)])
    return value


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.2, 0.5, 0.8]))
def test_exact(name: str, seed: int, share: float, agree: Callable[..., None]) -> None:
    generator = torch.Generator().manual_seed(seed)
    constants = {key: zeroed(value, generator, share) for key, value in program(name).constants.items()}
    before = replace(program(name), constants=constants)
    sizes, names = MODELS[name][1:]
    for steps in ([compact], [gather_channels, compact]):
        after = run(before, steps)
        agree(before, after, torch.randn(sizes))
        larger = [size + 2 if 2 in names else size for size in sizes[2:]]
        agree(before, after, torch.randn(sizes[0] + 1, sizes[1], *larger))


# (constant, channels of axis 0 set to zero in each) -> (constant, its shape after)
CASES: dict[str, tuple[dict[str, list[int]], dict[str, tuple[int, ...]]]] = {
    "prelu": ({"a.": [0, 5, 6]}, {"a": (5, 3, 3, 3), "b": (3, 5, 1, 1)}),
    "pooled": ({"a.": [0, 5]}, {"a": (6, 3, 3, 3), "b": (3, 6, 3, 3)}),
    "border": ({"a.": [0, 5, 6]}, {"a": (5, 3, 1, 1), "depth": (5, 1, 3, 3), "b": (4, 5, 3, 3), "up": (5, 4, 2, 2)}),
    "reflected": ({"a.": [2, 3]}, {"a": (6, 3, 3, 3), "b": (3, 6, 5, 5)}),
    "volume": ({"b.": [0, 1, 2]}, {"b": (5, 6, 3, 3, 3), "up": (5, 6, 2, 2, 2)}),
    "shuffled": ({"a.": [1, 3, 7]}, {"a": (5, 3, 1, 1)}),
    "subpixels": ({"a.": [4, 5, 6, 7]}, {"a": (12, 3, 3, 3), "b": (4, 3, 3, 3)}),
    "groups": ({"a.": [2, 3]}, {"a": (6, 3, 3, 3), "b": (3, 6, 3, 3)}),
    # sigmoid(0) = 0.5 in three channels, of which one carries the others
    "carried": ({"a.": [0, 5, 6]}, {"a": (6, 3, 1, 1), "b": (4, 6, 3, 3)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_dead_channels_go(name: str, agree: Callable[..., None]) -> None:
    zeros, shapes = CASES[name]
    after = dead(name, zeros, [compact], agree)
    found = {key.split(".weight")[0]: tuple(value.shape) for key, value in after.constants.items()}
    assert {key: found[key] for key in shapes} == shapes


def dead(name: str, zeros: dict[str, list[int]], steps: list[Any], agree: Callable[..., None]) -> Program:
    """The program after ``steps``, with zeros in these rows of all constants whose names begin so."""
    constants = {key: value.clone() for key, value in program(name).constants.items()}
    for start, rows in zeros.items():
        for key in [key for key in constants if key.startswith(start)]:
            constants[key][rows] = 0.0
    before = run(replace(program(name), constants=constants), [record_regions])
    after = run(before, steps)
    agree(before, after, torch.randn(MODELS[name][1]))
    return after


@pytest.mark.parametrize(
    ("name", "zeros", "words"),
    [
        (
            "groups",
            {"a.": [0, 3]},
            "the group norm 'group_norm' in 'norm' has live values in the same channels",
        ),
        ("extremes", {"a.": [0, 3]}, "a norm or mean over them counts each one, and they are no constants"),
        (
            "carried",
            {"a.": [0, 3]},
            "one channel carries the constants of all that were removed past the padding of",
        ),
        ("line", {"up.": []}, ""),
    ],
)
def test_reasons(name: str, zeros: dict[str, list[int]], words: str, agree: Callable[..., None]) -> None:
    after = dead(name, zeros, [compact], agree)
    assert any(words in region.reason for region in after.regions)
    assert ("dead but stay" in " ".join(region.reason for region in after.regions)) == bool(words)


class Between(nn.Module):
    """Dead channels, a sigmoid that makes them constants, then any convolution, and another one behind it."""

    def __init__(self, rank: int, transposed: bool, options: dict[str, int]):
        super().__init__()
        conv, chosen = (
            getattr(nn, f"Conv{rank}d"),
            getattr(nn, f"Conv{'Transpose' if transposed else ''}{rank}d"),
        )
        self.a, self.b, self.c = conv(2, 8, 1), chosen(8, 8, **options), conv(8, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.sigmoid(self.b(torch.sigmoid(self.a(x)))))


@settings(max_examples=30)
@given(
    rank=st.integers(1, 3), transposed=st.booleans(), kernel=st.integers(1, 3), stride=st.integers(1, 3),
    padding=st.integers(0, 2), dilation=st.integers(1, 2), groups=st.sampled_from([1, 1, 2, 8]),
    seed=st.integers(0, 10**6), symbolic=st.booleans(),
)  # fmt: skip
def test_any_convolution(
    rank: int, transposed: bool, kernel: int, stride: int, padding: int, dilation: int, groups: int, seed: int,
    symbolic: bool, agree: Callable[..., None],
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    padding = min(padding, dilation * (kernel - 1)) if transposed else padding
    options = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
    }
    model = Between(rank, transposed, options).eval()
    with torch.no_grad():
        for layer in (model.a, model.b):
            rows = torch.rand(8) < 0.5
            layer.bias[rows] = 0.0
            if layer is model.a or not transposed:
                layer.weight[rows] = 0.0
    x = torch.randn(2, 2, *range(6, 6 + rank))
    shapes = {"x": {0: "batch", 2: "length"}} if symbolic else None
    before = run(capture(model, (x,), dynamic_shapes=shapes), select((NORMALIZE, FUSE), own_operators=False))
    agree(before, run(before, [gather_channels, compact]), torch.randn(x.shape))
