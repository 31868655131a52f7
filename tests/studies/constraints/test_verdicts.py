"""Verdicts on the chosen model: budgets of both kinds, quality targets and sizes, met and missed."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from l0compile.measurement import Measurement, Protocol, Workload
from l0compile.studies.bench.engines import CHOSEN, ROW_OF
from l0compile.studies.constraints.constraint import Chosen
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.constraints.quality import QualityTarget
from l0compile.studies.result import Requirement
from l0compile.studies.space.space import Space

OPENVINO = ROW_OF["openvino"]
REFERENCE = ("openvino", Workload("factory", {}, onnx_path="dense.onnx"))


def took(ms: float) -> Measurement:
    return Measurement.from_blocks([[ms]] * 8, Protocol())


def verdicts(
    space: Space, budget: DeviceBudget, measured: Mapping[str, Measurement], quality: float = 0.9,
    dense: float = 1.0, artifact: Path = Path(),
) -> list[Requirement]:  # fmt: skip
    chosen = Chosen(nn.Identity(), artifact, quality, dense, measured, budget)
    return [each.verdict(each.measure(chosen), chosen) for each in space.constraints]


def only(space: Space, budget: DeviceBudget, **measured: Measurement) -> Requirement:
    rows = {{"chosen": CHOSEN, "openvino": OPENVINO}[name]: found for name, found in measured.items()}
    (found,) = verdicts(space, budget, rows)
    return found


def test_milliseconds(space: Space) -> None:
    budget = DeviceBudget(4.0)
    assert str(only(space, budget, chosen=took(3.92))) == (
        "met: latency of at most 4 ms: 0.980 of the budget [0.980, 0.980]"
    )
    assert str(only(space, budget, chosen=took(4.4))).startswith("MISSED: latency of at most 4 ms: 1.100")
    assert only(space, budget, chosen=took(2.0)).found.endswith("faster than needed")


@given(st.floats(0.2, 5.0), st.floats(0.5, 1.5))
def test_a_share_is_of_what_the_reference_takes_then(space: Space, slowdown: float, load: float) -> None:
    # 4 ms were 0.5 of 8 ms when the search began.
    budget = DeviceBudget(4.0, 0.5, REFERENCE)
    found = only(space, budget, chosen=took(4.0 * load * slowdown), openvino=took(8.0 * slowdown))
    assert found.what == "latency of at most 0.5 × dense OpenVINO"
    assert found.found.startswith(f"{load:.3f} of the budget") or abs(float(found.found[:5]) - load) < 2e-3
    if abs(load - 1.03) > 1e-6:
        assert found.met is (load <= 1.03)


def test_engines_that_failed(space: Space) -> None:
    failed, budget = Measurement.failed("no memory", Protocol()), DeviceBudget(4.0, 0.5, REFERENCE)
    missed = only(space, budget, chosen=failed, openvino=took(8.0))
    assert not missed.met and missed.found == "not measured: no memory"
    # Without its reference a share is that of the reference's latency when the search began.
    alone = only(space, budget, chosen=took(3.6), openvino=failed)
    assert alone.what.endswith(
        "dense OpenVINO when the search began (4 ms): in the end it could not be measured"
    )
    assert alone.met and alone.found.startswith("0.900 of the budget")


@pytest.mark.parametrize(("quality", "met"), [(0.8, True), (0.79, False)])
def test_a_target_is_a_share_of_the_dense_quality(
    space: Space, tmp_path: Path, quality: float, met: bool
) -> None:
    (tmp_path / "weights.safetensors").write_bytes(bytes(30_500_000))
    wanted = dataclasses.replace(space, quality=QualityTarget(0.1), limits={"artifact_mb": 30.0})
    target, size = verdicts(
        wanted, DeviceBudget(4.0), {CHOSEN: took(3.0)}, quality, dense=0.8 / 0.9, artifact=tmp_path
    )
    assert target.met is met and target.kind == "quality" and "at least 0.8, of 0.8889" in target.what
    assert (size.what, size.found, size.met) == ("at most 30 MB on disk", "30.5 MB", False)
