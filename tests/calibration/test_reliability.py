"""Models of a task, judged raw and scaled: temperatures from validation data, differences to the scaled baseline."""

import dataclasses
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import l0compile as l0
from l0compile import calibration
from l0compile.calibration import Calibration, calibrate, calibration_of_logits, fit_temperature
from l0compile.calibration.reliability import CURVE_POINTS
from l0compile.errors import ConfigError, DataError
from l0compile.tasks import Classification, Labelled, Schedule

SIZES = {"train": 300, "validation": 900, "held_out": 1100}


class Blobs(Classification):
    """Points around three corners, in batches of 256; the model is too sure by a factor of 3."""

    name, source, classes, representation = "blobs", "made here", ("a", "b", "c"), "0"

    def data(self, part: str) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(len(part))
        labels = torch.randint(3, (SIZES[part],), generator=generator)
        corners = torch.eye(3, 16)
        return corners[labels] + 0.8 * torch.randn(SIZES[part], 16, generator=generator), labels

    def build(self, seed: int) -> nn.Module:
        model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3)).eval()
        with torch.no_grad():
            for layer in (model[0], model[2]):
                layer.weight.zero_()
                layer.bias.zero_()
            model[0].weight[:3, :3] = torch.eye(3)
            model[0].weight[3:].normal_(std=0.1, generator=torch.Generator().manual_seed(seed))
            model[0].bias[:3] = 3.0
            # For these points the honest logits are x / 0.8².
            model[2].weight[:, :3] = 3.0 / 0.64 * torch.eye(3)
            model[2].weight[:, 3:].normal_(std=0.05, generator=torch.Generator().manual_seed(seed))
        return model

    def recipe(self, seed: int) -> Schedule:
        return Schedule(1, seed=seed)

    def batches(self, size: int, seed: int) -> Iterator[Labelled]:
        yield from self.evaluation("train")

    def evaluation(self, part: str) -> Iterator[Labelled]:
        x, labels = self.data(part)
        for start in range(0, len(x), 256):
            yield Labelled((x[start : start + 256],), labels[start : start + 256])

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(64, 16),)

    def workload(self) -> tuple[str, dict[str, Any]] | None:
        return None

    def facts(self) -> dict[str, Any]:
        return {}

    def dynamic_shapes(self) -> Any:
        return ({0: "batch"},)


@pytest.fixture(scope="module")
def task() -> Blobs:
    return Blobs()


@pytest.fixture(scope="module")
def reports(task: Blobs) -> dict[str, Calibration]:
    dense = task.build(0)
    gated = l0.attach(task.build(0), {"0": l0.Feature()})
    budget = l0.Budget(gated, 0.5, 1)
    hardened = l0.harden(gated, budget).eval()
    compiled = l0.compile(hardened, task.example(), dynamic_shapes=task.dynamic_shapes(), verify=True)
    models = {"dense": dense, "hardened": hardened, "compiled": compiled}
    return calibrate(task, models, reference="hardened", resamples=100)


def test_temperatures_come_from_validation_data(task: Blobs, reports: dict[str, Calibration]) -> None:
    dense = task.build(0)
    expected = fit_temperature(task.logits(dense, "validation"), task.labels("validation"))
    assert reports["dense"].temperature == expected and 2.5 < expected.value < 3.5
    held_out, labels = task.logits(dense, "held_out"), task.labels("held_out")
    raw, scaled = reports["dense"].raw.measures, reports["dense"].scaled.measures
    for name in calibration.MEASURES:
        measure = getattr(calibration, name)
        assert raw[name].value == pytest.approx(measure(held_out, labels))  # type: ignore[union-attr]
        assert scaled[name].value == pytest.approx(measure(expected.apply(held_out), labels))  # type: ignore[union-attr]
    assert raw["ece"].low > reports["dense"].raw.noise.high  # type: ignore[union-attr]
    assert scaled["ece"].value < reports["dense"].scaled.noise.high  # type: ignore[union-attr]


def test_differences_are_against_the_scaled_baseline(reports: dict[str, Calibration]) -> None:
    base = reports["dense"].scaled.measures
    for one in reports.values():
        assert one.baseline == "dense" and (one.part, one.examples) == ("held_out", SIZES["held_out"])
        for found, difference in ((one.raw, one.raw_difference), (one.scaled, one.scaled_difference)):
            for name, interval in difference.items():
                value = found.measures[name].value - base[name].value  # type: ignore[union-attr]
                assert interval is not None and interval.value == pytest.approx(value, abs=1e-12)
    assert {(i.low, i.high) for i in reports["dense"].scaled_difference.values() if i} == {(0.0, 0.0)}
    assert reports["dense"].raw_difference["ece"].low > 0  # type: ignore[union-attr]


def test_the_compiled_model_says_what_the_hardened_one_says(reports: dict[str, Calibration]) -> None:
    compiled = reports["compiled"].flips
    assert compiled is not None and compiled.flips == 0 and compiled.largest_difference < 1e-4
    same = reports["hardened"].flips
    assert same is not None and (same.flips, same.largest_difference) == (0, 0.0)
    dense = reports["dense"].flips
    assert dense is not None and dense.flips > 0 and dense.largest_difference > 0.01


def test_what_diagrams_need_is_there(reports: dict[str, Calibration]) -> None:
    for found in (reports["compiled"].raw, reports["compiled"].scaled):
        assert len(found.bins) == 15 and sum(item.count for item in found.bins) == SIZES["held_out"]
        assert len(found.risk.coverage) == CURVE_POINTS
        assert found.risk.risk[-1] == pytest.approx(1 - found.measures["accuracy"].value)  # type: ignore[union-attr]


def test_a_report_is_plain_data(reports: dict[str, Calibration]) -> None:
    told = json.loads(json.dumps(dataclasses.asdict(reports["compiled"])))
    assert told["raw"]["measures"]["ece"]["low"] == reports["compiled"].raw.measures["ece"].low  # type: ignore[union-attr]
    assert told["flips"]["flips"] == 0 and len(told["scaled"]["bins"]) == 15


def test_names_and_parts_are_checked(task: Blobs) -> None:
    models = {"dense": task.build(0)}
    with pytest.raises(ConfigError, match="fitted on validation data; judge 'held_out'"):
        calibrate(task, models, part="validation")
    with pytest.raises(ConfigError, match="the baseline among the models 'dense', got 'gated'"):
        calibrate(task, models, baseline="gated")
    with pytest.raises(ConfigError, match="the reference among the models 'dense', got 'hard'"):
        calibrate(task, models, reference="hard")
    with pytest.raises(ConfigError, match="none given"):
        calibrate(task, {})


def test_a_model_that_says_nan_is_named(task: Blobs) -> None:
    labels, logits = torch.tensor([0, 1]), torch.eye(2)
    broken = torch.tensor([[0.0, math.nan], [0.0, 1.0]])
    with pytest.raises(DataError, match=r"model 'gated': .*NaN or infinity in 1 of 2 rows"):
        calibration_of_logits({"dense": (logits, logits), "gated": (logits, broken)}, labels, labels)
