"""How large a model will be, before it is compiled, and plans that keep it small enough."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import l0compile as l0
from l0compile.errors import ConfigError, InfeasibleError
from l0compile.gates import Block, attach, harden, named_gates
from l0compile.studies.constraints.constraint import Limit
from l0compile.studies.constraints.registry import parse_limits
from l0compile.studies.constraints.size import CODE_BYTES, SizeLimit, Sizes
from l0compile.studies.pruning.allocation import Allocation, Menu
from l0compile.studies.pruning.bounds import Bound, allocate_within
from l0compile.studies.pruning.level import Level


def level(block: tuple[int, int] | None, density: float, loss: float = 0.0) -> Level:
    return Level(block, 0, density, loss, density)


@pytest.mark.parametrize("rows", [2, 4])
def test_a_compiled_model_has_the_size_that_was_told(tmp_path: Path, rows: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256))
    sizes = Sizes.of(model, ("0", "2"))
    attach(model, {"0": Block(rows, 1), "2": Block(rows, 1)})
    for gate in named_gates(model).values():
        with torch.no_grad():
            gate.log_alpha.copy_(torch.where(torch.rand(gate.log_alpha.shape) < 0.2, 9.0, -9.0))
    densities = [float((gate.log_alpha > 0).float().mean()) for gate in named_gates(model).values()]
    compiled = l0.compile(harden(model, values="binary").eval(), (torch.randn(64, 256),), engine="tvm")
    compiled.save(tmp_path / "model")
    plan = Allocation(
        {name: level((rows, 1), density) for name, density in zip("02", densities, strict=True)}
    )
    found = (tmp_path / "model" / "weights.safetensors").stat().st_size
    assert sizes.bytes_of(plan) - CODE_BYTES == pytest.approx(found, rel=0.02)
    dense = Allocation(dict.fromkeys("02", level(None, 1.0)))
    assert sizes.bytes_of(dense) - CODE_BYTES == 4 * (2 * 256 * 1024 + 1024 + 256)
    code = sum(file.stat().st_size for file in (tmp_path / "model").iterdir()) - found
    assert code < CODE_BYTES


DENSITIES = (1.0, 0.7, 0.4, 0.1)


@settings(max_examples=40)  # each makes a thousand plans
@given(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=4), st.floats(0.0, 1.2), st.floats(0.05, 1.2))
def test_an_allocation_is_as_small_as_asked_and_no_quicker_than_it_has_to_be(
    weights: list[float], size: float, time: float
) -> None:
    names = [str(number) for number in range(len(weights))]
    menu = Menu(
        {
            name: tuple(level((4, 1), density, weight * (1 - density) ** 2) for density in DENSITIES)
            for name, weight in zip(names, weights, strict=True)
        },
        {},
    )
    sizes = Sizes(dict.fromkeys(names, 1000), 500)
    largest = sizes.bytes_of(menu.allocate(menu.dense_ms))
    budget = max(time * menu.dense_ms, 1.001 * menu.least_ms)
    limit = CODE_BYTES + size * (largest - CODE_BYTES)
    bound = Bound("size", limit, sizes.bytes_of)
    if sizes.bytes_of(menu.allocate(menu.least_ms)) > limit:
        with pytest.raises(InfeasibleError, match="size: expected at least"):
            allocate_within(menu, budget, {}, [bound])
        return
    found = allocate_within(menu, budget, {}, [bound])
    assert sizes.bytes_of(found) <= limit and found.ms <= budget * (1 + 1e-6)
    free = menu.allocate(budget)
    if sizes.bytes_of(free) <= limit:
        assert found.layers == free.layers
        return
    # Nothing slower would have been small enough, as closely as it is looked for.
    step = (budget - menu.least_ms) / 1000
    others = [menu.allocate(menu.least_ms + number * step) for number in range(1001)]
    small = [plan.ms for plan in others if sizes.bytes_of(plan) <= limit]
    assert max(small) <= found.ms + 2 * step


def test_tensors_that_are_shared_count_once() -> None:
    model = nn.ModuleDict({"a": nn.Linear(8, 8), "b": nn.Linear(8, 8), "c": nn.Linear(8, 8, bias=False)})
    model["c"].weight = model["a"].weight
    model["a"].register_buffer("scale", torch.ones(3, dtype=torch.float64))
    sizes = Sizes.of(model, ("b",))
    assert sizes == Sizes({"b": 64}, 4 * 64 + 2 * 4 * 8 + 24)


def test_a_limit_that_no_model_keeps_is_told_before_anything_is_pruned() -> None:
    model = nn.Sequential(nn.Linear(256, 256), nn.Linear(256, 256))
    with pytest.raises(InfeasibleError, match=r"limits\.artifact_mb: expected more than 2\.3"):
        SizeLimit(2.1).plan(model, ("0",))
    assert SizeLimit(2.4).plan(model, ("0",)).most == 2.4


def test_the_registry_checks_keys_and_values() -> None:
    limit: Limit = SizeLimit(3.0)  # a size is a limit by its type, too
    assert parse_limits({"artifact_mb": 3}, "space") == {"artifact_mb": limit.most}
    with pytest.raises(ConfigError, match=r"space: limits\.colour: expected one of the keys artifact_mb"):
        parse_limits({"colour": 3}, "space")
    for bad in (True, "9", 0.0, float("nan")):
        with pytest.raises(ConfigError, match=r"space: limits\.artifact_mb: expected a number from 0\.001"):
            parse_limits({"artifact_mb": bad}, "space")
