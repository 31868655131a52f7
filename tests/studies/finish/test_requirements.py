"""What was asked for against the final measurement: budgets of both kinds, floors and sizes, met and missed."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.measurement import Measurement, Protocol, Workload
from l0compile.studies.finish.requirements import asked_of
from l0compile.studies.fit.budgeted import Budgeted
from l0compile.studies.fit.latency import CHOSEN, ROW_OF
from l0compile.studies.result import Asked
from l0compile.studies.space.space import Limits, QualityFloor, Space

OPENVINO = ROW_OF["openvino"]
REFERENCE = ("openvino", Workload("factory", {}, onnx_path="dense.onnx"))


def took(ms: float) -> Measurement:
    return Measurement.from_blocks([[ms]] * 8, Protocol())


def only(space: Space, budget: Budgeted, **measured: Measurement) -> Asked:
    rows = {{"chosen": CHOSEN, "openvino": OPENVINO}[name]: found for name, found in measured.items()}
    (found,) = asked_of(space, budget, rows, quality=0.9, dense=1.0, size_mb=10.0)
    return found


def test_milliseconds(space: Space) -> None:
    budget = Budgeted(4.0)
    assert str(only(space, budget, chosen=took(3.92))) == (
        "met: latency of at most 4 ms: 0.980 of the budget [0.980, 0.980]"
    )
    assert str(only(space, budget, chosen=took(4.4))).startswith("MISSED: latency of at most 4 ms: 1.100")
    assert only(space, budget, chosen=took(2.0)).found.endswith("quicker than needed")


@given(st.floats(0.2, 5.0), st.floats(0.5, 1.5))
def test_a_share_is_of_what_the_reference_takes_then(space: Space, slowdown: float, load: float) -> None:
    # 4 ms were 0.5 of 8 ms when the search began.
    budget = Budgeted(4.0, 0.5, REFERENCE)
    found = only(space, budget, chosen=took(4.0 * load * slowdown), openvino=took(8.0 * slowdown))
    assert found.what == "latency of at most 0.5 × dense OpenVINO"
    assert found.found.startswith(f"{load:.3f} of the budget") or abs(float(found.found[:5]) - load) < 2e-3
    if abs(load - 1.03) > 1e-6:
        assert found.met is (load <= 1.03)


def test_engines_that_failed(space: Space) -> None:
    failed, budget = Measurement.failed("no memory", Protocol()), Budgeted(4.0, 0.5, REFERENCE)
    missed = only(space, budget, chosen=failed, openvino=took(8.0))
    assert not missed.met and missed.found == "not measured: no memory"
    # Without its reference a share is that of the reference's latency when the search began.
    alone = only(space, budget, chosen=took(3.6), openvino=failed)
    assert alone.what.endswith(
        "dense OpenVINO when the search began (4 ms): in the end it could not be measured"
    )
    assert alone.met and alone.found.startswith("0.900 of the budget")


@pytest.mark.parametrize(("quality", "met"), [(0.8, True), (0.79, False)])
def test_a_floor_is_a_share_of_the_dense_quality(space: Space, quality: float, met: bool) -> None:
    wanted = dataclasses.replace(space, quality=QualityFloor(0.1), limits=Limits(30.0))
    measured = {CHOSEN: took(3.0)}
    floor, size = asked_of(wanted, Budgeted(4.0), measured, quality, dense=0.8 / 0.9, size_mb=30.5)
    assert floor.met is met and "at least 0.8, of 0.8889" in floor.what
    assert (size.what, size.found, size.met) == ("at most 30 MB on disk", "30.5 MB", False)
