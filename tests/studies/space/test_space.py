"""Search spaces: the shipped one, and what a malformed one is told."""

import copy
import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import ConfigError
from l0compile.gates import Block, Head, Neuron
from l0compile.studies.bench.engines import REFERENCES, ROW_OF
from l0compile.studies.constraints.latency import LatencyBudget
from l0compile.studies.constraints.quality import QualityTarget
from l0compile.studies.constraints.registry import LIMITS
from l0compile.studies.space.read import parse_space, read_space
from l0compile.studies.space.space import Effort, GateGroup, Space, TrainingPlan
from l0compile.tasks import SentenceOptions

TINY = tomllib.loads((Path(__file__).parents[1] / "tiny.toml").read_text())
SHIPPED = Path(__file__).parents[3] / "search_spaces"


def changed(path: str, value: Any) -> dict[str, Any]:
    """The tiny space with the value at a dotted path replaced, or removed where it is `...`."""
    data: Any = copy.deepcopy(TINY)
    at = data
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in way:
        at = at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return data


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.toml")), ids=lambda file: file.stem)
def test_shipped_spaces_are_valid(file: Path) -> None:
    space = read_space(file)
    assert space.name == file.stem and space.gates


def test_values_arrive(space: Space) -> None:
    heads, neurons, blocks = space.gates
    assert (heads.granularity(None), neurons.granularity(None)) == (Head(2), Neuron())
    assert blocks.shapes == ((4, 1), (4, 4)) and blocks.granularity((4, 4)) == Block(4, 4)
    assert blocks.density == (0.1, 0.8) and space.feeds == {"up": "down"}
    assert space.options.tokens == 8 and space.effort.sweep == (1.0,)
    assert space.latency.in_ms(3.0) == 1000.0
    assert parse_space(changed("latency", {"ratio": 0.5})).latency.in_ms(3.0) == 1.5


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (
            "task.name",
            "tinny",
            r"task\.name: expected one of .*tiny, or FILE.py:FUNCTION of your own, got 'tinny'",
        ),
        ("task.name", ..., r"task\.name: is missing; expected one of"),
        ("task.tokens", 1.5, r"task\.tokens: expected a whole number, got 1.5"),
        ("task", 3, r"task: expected a table, got 3"),
        ("latency.ratio", 0.5, r"latency: expected either ratio .* or ms"),
        (
            "limits",
            {"artifact_mb": "9"},
            r"limits\.artifact_mb: expected a number from 0.001 to 1e\+09, got '9'",
        ),
        ("limits", {"colour": 3}, r"limits\.colour: expected one of the keys .*artifact_mb.*, got"),
        ("latency.percentile", 100, r"latency\.percentile: expected a number from 1 to 99, got 100"),
        ("training.stages", 0, r"training\.stages: expected a whole number from 1 to 16, got 0"),
        (
            "training",
            {"stages": 2, "gate_steps": 5},
            r"training\.stages: expected 1 beside gate_steps: zeros come in stages or are trained, got 2",
        ),
        ("quality", {"drop": 0.01}, r"latency: expected no ratio or ms beside quality\.drop"),
        ("quality", {"drop": 2}, r"quality\.drop: expected a number from 1e-06 to 1, got 2"),
        ("quality", {"rise": 1}, r"quality\.rise: unknown key; expected one of drop"),
        ("quality", {}, r"quality\.drop: is missing; expected a number from 1e-06 to 1"),
        ("latency.ms", ..., r"latency: expected either ratio .* or ms, or drop in a table quality"),
        ("latency.ms", "4", r"latency\.ms: expected a number from 0.001 to 1e\+06, got '4'"),
        (
            "latency.reference",
            "tensorrt",
            r"latency\.reference: expected one of 'onnxruntime', 'openvino', 'pytorch', 'l0compile', 'openvino-bf16', "
            r"'openvino-int8', 'onnxruntime-int8', got 'tensorrt'",
        ),
        ("precision", [], r"precision: expected at least one, each once, got \[\]"),
        (
            "precision",
            ["int8", "int8"],
            r"precision: expected at least one, each once, got \['int8', 'int8'\]",
        ),
        ("precision", ["int4"], r"precision\[0\]: expected one of 'float32', 'bfloat16', 'int8', got 'int4'"),
        ("gates", [], r"gates: expected one \[\[gates\]\] table of blocks at least"),
        (
            "gates.0.kind",
            "channel",
            r"gates\[0\]\.kind: expected one of 'block', 'head', 'neuron', got 'channel'",
        ),
        ("gates.0.heads", ..., r"gates\[0\]\.heads: is missing; expected a whole number from 1 to 1024"),
        ("gates.0.shapes", ["4x1"], r"gates\[0\]\.shapes: expected no such key for gates of kind 'head'"),
        ("gates.1.name", "heads", r"gates: expected a different name for each group"),
        ("gates.2.shapes", ["4by1"], r"gates\[2\]\.shapes\[0\]: expected a block shape such as \"4x1\""),
        ("gates.2.shapes", [], r"gates\[2\]\.shapes: expected at least one"),
        (
            "gates.2.shapes",
            ["4x1", "4x1"],
            r"gates\[2\]\.shapes: expected at least one block shape, each once",
        ),
        ("gates.2.patterns", "up", r"gates\[2\]\.patterns: expected a list of module-name patterns"),
        ("gates.2.density", [0.9, 0.2], r"gates\[2\]\.density: expected \[low, high\] with 0 <= low <= high"),
        ("gates.2.density", [0.0, 0.0], r"gates\[2\]\.density: .*high above 0, got \[0.0, 0.0\]"),
        ("gates.2.density", [0.5, 1.1], r"gates\[2\]\.density"),
        ("feeds.up", 3, r"feeds\.up: expected the pattern of the layers that read it, got 3"),
        ("search.trials", 0, r"search\.trials: expected a whole number from 1 to 10000, got 0"),
        ("search.trials", True, r"search\.trials"),
        ("search.thorough", True, r"search\.thorough: unknown key"),
        ("search.sweep", [9.0], r"search\.sweep\[0\]: expected a number from 0.1 to 4, got 9.0"),
        (
            "search.second",
            3,
            r"search\.second: unknown key; expected one of trials, seconds, .*; did you mean seconds",
        ),
        ("training.batch", 1, r"training\.batch: expected a whole number from 2 to 4096"),
        (
            "trainning",
            {},
            r"trainning: unknown key; expected one of gates, task, latency, .*; did you mean training",
        ),
    ],
)
def test_malformed_spaces_name_file_key_and_what_is_allowed(path: str, value: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match="^my.toml: " + complaint):
        parse_space(changed(path, value), file="my.toml")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_layer_may_lose_anything_where_nothing_is_said(number: int) -> None:
    place = f"gates.{number}.density"
    assert parse_space(changed(place, ...)).gates[number].density == (0.0, 1.0)
    assert parse_space(changed(place, [0.0, 0.4])).gates[number].density == (0.0, 0.4)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: can't be read"):
        read_space(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[task\nname = 1")
    with pytest.raises(ConfigError, match=r"bad\.toml: is not valid TOML: .*line 1"):
        read_space(tmp_path / "bad.toml")


PLACES = (
    "task latency search training feeds gates.0 gates.2 task.tokens latency.ms search.seed training.batch"
)
KEYS = st.sampled_from([*PLACES.split(), "gates.0.density", "search.sweep"])
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(KEYS, JUNK)
def test_junk_is_a_config_error_or_a_space_and_nothing_else(path: str, junk: Any) -> None:
    try:
        assert isinstance(parse_space(changed(path, junk), file="f.toml"), Space)
    except ConfigError as error:
        assert str(error).startswith("f.toml: ")


def test_fingerprint_changes_with_what_trials_depend_on_only(space: Space) -> None:
    longer = dataclasses.replace(space, effort=dataclasses.replace(space.effort, trials=9, seconds=99.0))
    assert longer.fingerprint() == space.fingerprint()
    for path, value in [
        ("gates.2.density", [0.3, 1.0]),
        ("latency.ms", 5.0),
        ("training.candidate_steps", 9),
    ]:
        assert parse_space(changed(path, value)).fingerprint() != space.fingerprint()


def test_precisions_are_float32_where_nothing_is_said(space: Space) -> None:
    assert space.precision == ("float32",) and not space.narrow and space.engines == REFERENCES
    # The fingerprint of a space that says what it did before is that of an earlier version.
    assert dataclasses.replace(space, precision=("float32",)).fingerprint() == space.fingerprint()
    narrow = parse_space(changed("precision", ["float32", "int8"]))
    assert narrow.precision == ("float32", "int8") and narrow.narrow
    assert narrow.fingerprint() != space.fingerprint() and set(narrow.engines) == set(ROW_OF)
    beside = parse_space(changed("latency", {"ratio": 0.5, "reference": "openvino-int8"}))
    assert set(beside.engines) == set(ROW_OF)


def test_the_reference_tells_every_key_and_its_default() -> None:
    text = (Path(__file__).parents[3] / "docs" / "search_space.md").read_text()
    assert all(f"`{key}`" in text for key in LIMITS)
    for kind in (GateGroup, LatencyBudget, QualityTarget, Effort, TrainingPlan, SentenceOptions):
        for field in dataclasses.fields(kind):
            if field.name == "thorough":  # of --quick
                continue
            row = next((line for line in text.splitlines() if f"`{field.name}`" in line), None)
            assert row is not None, field.name
            if isinstance(field.default, int | float) and field.name != "heads":
                # The same key may be in two tables.
                rows = [line for line in text.splitlines() if f"`{field.name}`" in line]
                assert any(number in line for line in rows for number in spelt(field.default)), field.name


def spelt(number: float) -> set[str]:
    return {str(number), f"{number:g}", f"{number:.0e}".replace("e-0", "e-")}


@given(st.integers(1, 5000), st.integers(0, 5000))
def test_short_trainings_have_a_lower_rate_of_weights(steps: int, done: int) -> None:
    schedule = TrainingPlan(batch=4, weight_rate=1e-3, products="bfloat16").schedule(steps, seed=7)
    assert (schedule.steps, schedule.batch, schedule.seed, schedule.products) == (steps, 4, 7, "bfloat16")
    done = min(done, steps - 1)
    weights, gates = schedule.rates(done, done / steps)
    scale = min(1.0, (done + 1) / schedule.warmup) * (1.0 - done / steps)
    assert weights == pytest.approx(1e-3 * scale * min(1.0, steps / 400))
    assert gates == pytest.approx(schedule.gate_rate * scale)


def test_a_training_that_its_deadline_cuts_short_is_a_short_one() -> None:
    schedule = TrainingPlan(weight_rate=1e-3).schedule(100_000, seed=0)
    # 50 steps in half of the time: of the 100,000 about 100 will be made.
    assert schedule.rates(50, 0.5)[0] == pytest.approx(1e-3 * 0.5 * 102 / 400)
    # Half of the time went before the first step: one more at most.
    assert 0.0 < schedule.rates(0, 0.5)[0] < 1e-6
