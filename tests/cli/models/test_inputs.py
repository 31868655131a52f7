"""Inputs made up for a saved model fit what its manifest asks for."""

from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_flatten

from l0compile.cli.models.inputs import example_call, measured
from l0compile.errors import ConfigError
from l0compile.hardware.targets import load_target
from l0compile.ir.codec import encode
from l0compile.runtime.artifact import dump_spec, write_bundle

IDS = {"name": "ids", "dtype": "int64", "shape": ["s0", "s1"], "below": 50}
MASK = {"name": "mask", "dtype": "int64", "shape": ["s0", "s1"], "below": None}
SCALE = {"name": "scale", "dtype": "float32", "shape": [2, 3], "below": None}
LABELS = {"s0": "batch", "s1": "tokens"}


def saved(tmp_path: Path, inputs: list[dict[str, object]], example: object) -> str:
    spec = dump_spec(tree_flatten(example)[1])
    manifest = {
        "target": encode(load_target("native")),
        "inputs": inputs,
        "outputs": [],
        "labels": LABELS,
    }
    (tmp_path / "lib").write_bytes(b"")
    write_bundle(tmp_path / "m", {**manifest, "in_spec": spec, "out_spec": spec}, {}, tmp_path / "lib")
    return str(tmp_path / "m")


def test_inputs_have_the_asked_sizes_dtypes_and_ranges(tmp_path: Path) -> None:
    path = saved(tmp_path, [IDS, MASK, SCALE], ((1, 2), {"scale": 3}))
    (ids, mask), named = example_call(path, {"batch": 4, "tokens": 9})
    assert ids.shape == mask.shape == (4, 9) and ids.dtype == torch.int64
    assert ids.min() >= 0 and ids.max() < 50 and len(ids.unique()) > 5
    assert torch.equal(mask, torch.ones_like(mask))
    assert named["scale"].shape == (2, 3) and named["scale"].dtype == torch.float32


def test_the_same_every_time(tmp_path: Path) -> None:
    path = saved(tmp_path, [IDS, SCALE], ((1, 2), {}))
    first, second = (measured(path, {"batch": 1, "tokens": 7})[1] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("sizes", [{}, {"batch": 1}, {"batch": 1, "tokens": 2, "heads": 3}])
def test_missing_and_unknown_sizes_are_named(tmp_path: Path, sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="needs --size batch=N --size tokens=N"):
        example_call(saved(tmp_path, [IDS], ((1,), {})), sizes)


def test_a_fixed_model_takes_no_sizes(tmp_path: Path) -> None:
    path = saved(tmp_path, [SCALE], ((1,), {}))
    assert measured(path, {})[1][0].shape == (2, 3)
    with pytest.raises(ConfigError, match="all its sizes are fixed"):
        measured(path, {"batch": 1})


def test_a_derived_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="derived"):
        example_call(saved(tmp_path, [{**IDS, "shape": ["?", 2]}], ((1,), {})), {})
