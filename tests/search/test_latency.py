"""Comparisons that are made again where something else disturbed what they are for."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from l0compile.measure import Measurement, Protocol
from l0compile.search import Silent, latency
from l0compile.search.latency import compare_quietly

PROTOCOL = Protocol()


def took(ms: float, spread: float = 0.0) -> Measurement:
    draw = random.Random(0)
    return Measurement.from_blocks([[ms * (1 + spread * draw.uniform(-1, 1))] for _ in range(12)], PROTOCOL)


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Measurement]]:
    """What the engines will take, one comparison after another."""
    wanted: list[Mapping[str, Measurement]] = []
    order: Iterator[int] = iter(range(100))

    def measured(*_: Any) -> Mapping[str, Measurement]:
        return wanted[next(order)]

    monkeypatch.setattr(latency, "measure_engines", measured)
    return wanted


def test_a_quiet_comparison_stands(runs: list[Mapping[str, Measurement]]) -> None:
    runs.append({"reference": took(2.0), "model": took(1.0), "other": took(5.0, 0.9)})
    notes = Notes()
    found = compare_quietly({}, {"gone": "no such engine"}, PROTOCOL, ("reference", "model"), notes)
    assert found == {**runs[0], "gone": Measurement.failed("no such engine", PROTOCOL)} and not notes.texts


def test_a_disturbed_one_is_made_again_twice_at_most_and_the_quietest_taken(
    runs: list[Mapping[str, Measurement]],
) -> None:
    runs += [{"reference": took(2.0), "model": took(1.0, spread)} for spread in (0.9, 0.5, 0.7)]
    notes = Notes()
    assert compare_quietly({}, {}, PROTOCOL, ("reference", "model"), notes) == runs[1]
    assert len(notes.texts) == 2


def test_what_failed_is_not_waited_for(runs: list[Mapping[str, Measurement]]) -> None:
    runs.append({"reference": Measurement.failed("gone", PROTOCOL), "model": took(1.0)})
    notes = Notes()
    assert compare_quietly({}, {}, PROTOCOL, ("reference", "model"), notes) == runs[0] and not notes.texts


def test_a_disturbed_comparison_is_worth_more_than_one_that_failed(
    runs: list[Mapping[str, Measurement]],
) -> None:
    failed = {"reference": took(2.0), "model": Measurement.failed("out of memory", PROTOCOL)}
    runs += [{"reference": took(2.0), "model": took(1.0, 0.9)}, failed]
    assert compare_quietly({}, {}, PROTOCOL, ("reference", "model"), Notes()) == runs[0]
