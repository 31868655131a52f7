"""Watching modalities: active share, gradient share, floors, and the warning of a collapse."""

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from l0compile.errors import ConfigError, GateError
from l0compile.gates import Budget, Feature, attach, harden, named_gates
from l0compile.tasks import Schedule, train
from l0compile.tasks.multimodal.watch import ModalityWatch, active_share
from tests.tasks.multimodal.stand_in import make_task

GATES = {"between.*.*": Feature(16)}
SCHEDULE = Schedule(steps=60, batch=32, weight_rate=1e-3, gate_rate=0.2, embeddings=True)


def test_a_floor_is_kept_in_training_and_hardening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task = make_task(tmp_path, monkeypatch)
    shares = {}
    for floors in (None, {"table": 0.25}):
        model = attach(task.build(0), GATES)
        with torch.no_grad():
            for name, gate in named_gates(model).items():
                gate.log_alpha.sub_(6.0 * (".table." in name))  # the table starts nearly closed
        budget = Budget(model, 0.5, SCHEDULE.steps)
        with caplog.at_level(logging.WARNING), ModalityWatch(model, floors=floors, every=10) as watch:
            train(task, model, SCHEDULE, budget=budget, on_step=watch.step)
        assert len(watch.readings) == 6 and watch.readings[-1].step == 60
        harden(model, 0.5, floors=watch.harden_floors)
        shares[bool(floors)] = active_share(model, "between.*.table")
        told = [
            record.getMessage() for record in caplog.records if "modality 'table' collapses" in record.message
        ]
        assert len(told) == (floors is None), told
        caplog.clear()
    assert shares[False] < 0.05 and shares[True] >= 0.25
    assert active_share(model, "between.*.*") == pytest.approx(0.5, abs=0.005)
    assert all(int(gate.z.ne(0).sum()) >= 4 for name, gate in named_gates(model).items() if ".table." in name)


def test_the_gradient_share_is_that_of_the_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(tmp_path, monkeypatch, modalities=("text", "table"))
    model, batch = task.build(0), next(iter(task.batches(16, 0)))
    kept = {}
    for name, module in model.tokens.items():
        module.register_forward_hook(
            lambda _m, _a, out, name=name: kept.update({name: out}) or out.retain_grad()
        )
    with ModalityWatch(model, every=1) as watch:
        task.loss(model, batch).backward()
        watch.step(1)
    norms = {name: float(out.grad.norm()) for name, out in kept.items()}
    for name, presence in watch.readings[0].modalities.items():
        assert presence.active is None
        assert presence.gradient == pytest.approx(norms[name] / sum(norms.values()), rel=1e-5)


def test_tokens_without_gradient_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task = make_task(tmp_path, monkeypatch, modalities=("text", "table"))
    model = harden(attach(task.build(0), {"between.*.table": Feature(16)}), 0.0)
    with (
        caplog.at_level(logging.WARNING, logger="l0compile"),
        ModalityWatch(model, every=5, least_active=0.0) as watch,
    ):
        train(task, model, Schedule(steps=20, batch=16), on_step=watch.step)
    assert [reading.collapsed for reading in watch.readings] == [("table",)] * 4
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1 and "gets" not in told[0] and "of the gradient, at least 1.00% wanted" in told[0]
    handles = [hook for module in model.tokens.values() for hook in module._forward_hooks]
    assert not handles  # the watch has gone


def test_wrong_arguments_are_named() -> None:
    model = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 2))
    with pytest.raises(ConfigError, match="tokens: expected the names of modules"):
        ModalityWatch(model)
    with pytest.raises(ConfigError, match="got no module 7"):
        ModalityWatch(model, tokens={"a": "7"})
    with pytest.raises(ConfigError, match="every >= 1"):
        ModalityWatch(model, tokens={"a": "0"}, every=0)
    with pytest.raises(ConfigError, match="floors: expected some of"):
        ModalityWatch(model, tokens={"a": "0"}, gates={"a": "0"}, floors={"b": 0.1})
    with pytest.raises(GateError, match="floors: '0'"):
        ModalityWatch(model, tokens={"a": "0"}, gates={"a": "0"}, floors={"a": 0.1})
