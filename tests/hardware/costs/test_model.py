"""The cost model finds the costs that made the times, and predicts works between those measured."""

import random
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from l0compile.hardware.costs import CostKey, CostPlace, CostRecord, KernelWorkload, Machine, shipped_records
from l0compile.hardware.costs.model import CostModel
from l0compile.hardware.targets import Core
from l0compile.kernels.costs import counted_kernels

KERNELS = {kernel.op: kernel for kernel in counted_kernels(Core())}
MACHINE, PLACE = Machine(2, 64, 16, 1 << 20), CostPlace("cpu", 2, "v")
SHAPES = ((384, 384), (1536, 384), (384, 1536), (768, 768))
BLOCKS = (None, (4, 1), (4, 4))


def grid() -> list[KernelWorkload]:
    return [
        KernelWorkload("linear", shape, block, density, tokens, variant)
        for shape in SHAPES
        for block in BLOCKS
        for density in ((0.5, 0.2, 0.05) if block else (1.0,))
        for tokens in (64, 128, 512)
        for variant in ("", "gelu")
    ] + [KernelWorkload("norm", (f,), tokens=t, variant="layer") for f in (128, 768) for t in (64, 512)]


def true_ms(work: KernelWorkload) -> float:
    """Milliseconds on a machine that is as the model believes machines to be."""
    generator = random.Random(0)
    price = {
        name: generator.uniform(0.5, 2)
        for each in grid()
        for name in sorted(KERNELS[each.op].counts(each, MACHINE))
    }
    unit = {"launch": 1e-3, "byte of weights": 1e-9}
    return sum(
        price[name] * unit.get(name, 1e-8) * n for name, n in KERNELS[work.op].counts(work, MACHINE).items()
    )


def record(work: KernelWorkload, ms: float) -> CostRecord:
    return CostRecord(CostKey(work, PLACE), (), ms, ms, ms, 1, "")


@pytest.fixture(scope="module")
def model() -> CostModel:
    return CostModel([record(work, true_ms(work)) for work in grid()], MACHINE, KERNELS)


def test_measured_works_are_met(model: CostModel) -> None:
    assert all(model.predict(work) == pytest.approx(true_ms(work), rel=0.03) for work in grid())


@pytest.mark.parametrize(
    "work",
    [
        KernelWorkload("linear", (1000, 500), (4, 1), 0.3, 256),
        KernelWorkload("linear", (384, 384), (4, 4), 0.13, 256, "gelu"),
        KernelWorkload("linear", (3072, 768), None, 1.0, 128),
        KernelWorkload("norm", (384,), tokens=128, variant="layer"),
    ],
    ids=str,
)
def test_works_that_were_not_measured_are_predicted(model: CostModel, work: KernelWorkload) -> None:
    assert model.predict(work) == pytest.approx(true_ms(work), rel=0.06)


def test_what_lies_off_the_sum_moves_its_neighbours_only() -> None:
    odd = KernelWorkload("linear", (384, 384), (4, 1), 0.2, 128)
    records = [record(work, true_ms(work) * (1.5 if work == odd else 1)) for work in grid()]
    found = CostModel(records, MACHINE, KERNELS)
    near, far = (
        KernelWorkload("linear", (384, 384), (4, 1), 0.21, 128),
        KernelWorkload("linear", (1536, 384), (4, 4), 0.5, 512),
    )
    assert (found.predict(odd) or 0) > 1.1 * true_ms(odd) and (found.predict(near) or 0) > 1.1 * true_ms(near)
    assert found.predict(far) == pytest.approx(true_ms(far), rel=0.1)


@given(st.sampled_from(BLOCKS[1:]), st.floats(0.0, 1.0), st.integers(1, 5000), st.integers(1, 5000))
def test_any_prediction_is_a_time(block: tuple[int, int], density: float, n: int, k: int) -> None:
    model = CostModel([record(work, true_ms(work)) for work in grid()[::7]], MACHINE, KERNELS)
    assert 0 < (model.predict(KernelWorkload("linear", (n, k), block, density, 77)) or 0) < inf


def test_nothing_is_said_of_what_was_never_measured(model: CostModel) -> None:
    assert model.predict(KernelWorkload("linear", (384, 384), (8, 8), 0.2, 128)) is None
    assert model.predict(KernelWorkload("norm", (384,), tokens=128, variant="rms")) is None
    assert model.predict(KernelWorkload("unheard of", ())) is None
    assert CostModel([], MACHINE, KERNELS).predict(grid()[0]) is None
    assert (
        CostModel([record(KernelWorkload("unheard of", ()), 1.0)], MACHINE, KERNELS).predict(
            KernelWorkload("unheard of", ())
        )
        is None
    )


def test_costs_are_never_below_zero() -> None:
    generator = random.Random(1)
    noisy = [record(work, true_ms(work) * generator.uniform(0.5, 2)) for work in grid()]
    assert all(cost >= 0 for cost in CostModel(noisy, MACHINE, KERNELS).costs.values())


def test_costs_are_those_of_scipy() -> None:
    """On the records that come with l0compile."""
    place = shipped_records()[0].key.place
    records = [
        r
        for r in shipped_records()
        if (r.key.place.device, r.key.place.threads) == (place.device, place.threads)
    ]
    model = CostModel(records, MACHINE, KERNELS)
    best: dict[KernelWorkload, float] = {}
    for each in records:
        if each.ms is not None and model.counts(each.key.work):
            best[each.key.work] = min(each.ms, best.get(each.key.work, each.ms))
    names = sorted(model.costs)
    counts = np.array([[model.counts(work).get(name, 0.0) for name in names] for work in best])
    times = np.array(list(best.values()))
    scale = np.linalg.norm(counts / times[:, None], axis=0)
    costs = nnls(counts / times[:, None] / scale, np.ones(len(times)))[0] / scale
    found = counts @ np.array([model.costs[name] for name in names])
    assert found == pytest.approx(counts @ costs, rel=1e-6)
