"""Heads of attention are chosen together with blocks: by what a pattern costs and what it saves."""

import dataclasses
import json
from pathlib import Path

import pytest
import tiny_task
from instant import make_evaluator

import l0compile as l0
from l0compile.attention.assignment.calls import answered
from l0compile.attention.assignment.kinds import KINDS
from l0compile.errors import ConfigError, InputError
from l0compile.hardware.targets import load_target
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.search_job import search_job, search_objective
from l0compile.studies.pruning.prices import Prices
from l0compile.studies.run import run_search
from l0compile.studies.setup import legal_precisions
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.read import parse_space
from l0compile.studies.space.space import AttentionGroup, Space
from l0compile.studies.space.space_json import space_from_json, space_to_json
from tests.attention.window_pattern import Near

NEAR = ({"kind": "near", "before": [1, 3], "after": 1, "block": 1},)


@pytest.fixture(scope="module", autouse=True)
def near() -> None:
    KINDS["near"] = Near
    yield
    del KINDS["near"]


@pytest.fixture(scope="module")
def attentive(space: Space) -> Space:
    blocks = tuple(group for group in space.gates if group.kind == "block")
    return dataclasses.replace(
        space, gates=blocks, feeds={}, attention=(AttentionGroup("attention", ("*",), NEAR),)
    )


@pytest.fixture(scope="module")
def evaluator(attentive: Space, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return make_evaluator(attentive, tmp_path_factory.mktemp("heads"))


HEADS = ("the model (head 0)", "the model (head 1)")


def test_each_head_may_see_all_keys_or_those_of_a_pattern(evaluator: Evaluator) -> None:
    assert evaluator.members["attention"] == HEADS
    for name in HEADS:
        every, narrow, wide = evaluator.menu.layers[name]
        assert (every.loss, every.density, every.pattern) == (0.0, 1.0, "")
        assert narrow.loss > wide.loss > 0 and narrow.ms <= wide.ms < every.ms
        assert narrow.pattern == str(Near(1, 1, 1)) and 0 < narrow.density <= wide.density < 1


def test_an_allocation_becomes_a_model_with_these_patterns(evaluator: Evaluator) -> None:
    tight = evaluator.allocate(Choices(weight={"attention": 1e-6}), 0.5 * evaluator.menu.dense_ms)
    assert set(tight.patterns) == set(HEADS)
    seen = []

    def note(name, call):  # type: ignore[no-untyped-def]
        seen.append(call.attn_mask)
        return call.dense()

    model = evaluator.realised(tight)
    with answered(model, note):  # outside of the module's own hooks, it hears what these leave
        model(*evaluator.task.example())
    mask = seen[0].expand(1, 2, -1, -1)
    queries, keys = mask.shape[-2:]
    for head, name in enumerate(HEADS):
        number = tight.layers[name].number
        assert (mask[0, head] == evaluator.candidates["attention"][number - 1].mask(queries, keys)).all()
    free = evaluator.allocate(Choices(weight={"attention": 1e6}), 0.9 * evaluator.menu.dense_ms)
    assert not free.patterns
    assert evaluator.key(model, tight) != evaluator.key(model, free)
    assert evaluator.evaluate(Choices(weight={"attention": 1e-6}), tight.ms).quality < 1.0
    assert any(entry[0] == str(Near(1, 1, 1)) for entry in tight.to_json().values())


def test_a_space_with_attention_survives_json_and_changes_the_fingerprint(
    attentive: Space, space: Space
) -> None:
    again = space_from_json(json.loads(json.dumps(space_to_json(attentive))))
    assert again.fingerprint() == attentive.fingerprint() != space.fingerprint()


def test_a_worker_evaluates_the_same(evaluator: Evaluator, attentive: Space, tmp_path: Path) -> None:
    price = 0.5 * evaluator.menu.dense_ms
    job = json.loads(json.dumps(search_job(attentive, evaluator, Prices(load_target("native"), None), price)))
    assert list(job["attention"]) == [""]
    assert callable(search_objective(job, tmp_path))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "far"}, r"candidates\[0\].kind: expected one of .*near.*, got 'far'"),
        (
            {"kind": "near", "before": "x", "after": 1},
            r"candidates\[0\]: before: expected a whole number, got 'x'",
        ),
        ({"kind": "near", "befor": 1, "after": 1}, r"befor: unknown key"),
    ],
)
def test_a_wrong_candidate_is_refused_by_its_place(table: dict[str, object], message: str) -> None:
    data = {
        "task": {"name": "tiny"},
        "latency": {"ratio": 0.5},
        "attention": [{"name": "attention", "patterns": ["*"], "candidates": [table]}],
    }
    with pytest.raises(ConfigError, match=message):
        parse_space(data)


def test_what_does_not_go_together_is_refused(attentive: Space, space: Space) -> None:
    from_heads = {"name": "h", "kind": "head", "heads": 2, "patterns": ["out"]}
    data = {
        "task": {"name": "tiny"},
        "latency": {"ms": 1.0},
        "gates": [from_heads],
        "attention": [{"name": "attention", "patterns": ["*"], "candidates": list(NEAR)}],
    }
    with pytest.raises(
        ConfigError, match=r"attention: expected no gates of kind 'head' beside it, got \['h'\]"
    ):
        parse_space(data)
    rounded = dataclasses.replace(attentive, precision=("float32", "bfloat16"))
    with pytest.raises(ConfigError, match="expected no 'bfloat16' beside attention 'attention'"):
        legal_precisions(rounded, load_target("native"))
    assert parse_space({**data, "gates": []}).attention[0].name == "attention"


@pytest.mark.slow
def test_a_search_ends_with_fixed_sizes_though_the_task_has_others(attentive: Space, tmp_path: Path) -> None:
    class Dynamic(tiny_task.TinyTask):
        def dynamic_shapes(self) -> object:
            return ({0: "batch", 1: "tokens"},)

    found = run_search(attentive, tmp_path, task=Dynamic(tiny_task.TinyOptions()), quick=True)
    loaded = l0.load(tmp_path / "model")
    ids = Dynamic(tiny_task.TinyOptions()).example()
    assert loaded(*ids).shape == (ids[0].shape[0], 32) and found.chosen is not None
    with pytest.raises(InputError):
        loaded(ids[0][:, :5])


def test_a_pattern_that_matches_nothing_is_refused(attentive: Space, tmp_path: Path) -> None:
    lost = dataclasses.replace(attentive, attention=(AttentionGroup("attention", ("nothing",), NEAR),))
    with pytest.raises(ConfigError, match="expected modules that call scaled_dot_product_attention"):
        make_evaluator(lost, tmp_path)
