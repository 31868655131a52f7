"""Processes that stay: another workload in the same process, a measurement that ends early, one that has died."""

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from l0compile.measurement import Measurement, Protocol, Stopwatch, Workload

FAST = Protocol(warmup_s=0.0, blocks=30, block_s=0.0, settle_s=0.0, min_calls=2, resamples=10)


def scaled(width: int = 8) -> Workload:
    return Workload(factory="tiny_models:scaled", factory_kwargs={"width": width})


@pytest.fixture(autouse=True)
def factories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture(scope="module")
def stopwatch() -> Iterator[Stopwatch]:
    with Stopwatch(1) as made:
        yield made


def process(stopwatch: Stopwatch, name: str) -> int:
    return stopwatch._seats[name][2]._process.pid


def test_another_workload_and_another_protocol_need_no_other_process(stopwatch: Stopwatch) -> None:
    five = Protocol(warmup_s=0.0, blocks=5, block_s=0.0, settle_s=0.0, min_calls=3, resamples=10)
    first = stopwatch.measure({"seat": ("pytorch", scaled())}, FAST)["seat"]
    pid = process(stopwatch, "seat")
    wide = stopwatch.measure({"seat": ("pytorch", scaled(1024))}, five)["seat"]
    assert first.calls == (2,) * 30 and wide.calls == (3,) * 5
    assert process(stopwatch, "seat") == pid and len(stopwatch.starts) == 1
    assert stopwatch.start_seconds() > 0.0 and stopwatch.has("seat") and not stopwatch.has("other")
    assert wide.median_ms > first.median_ms


def test_a_measurement_ends_when_enough_is_known(stopwatch: Stopwatch) -> None:
    seen: list[int] = []

    def enough(found: Mapping[str, Measurement]) -> bool:
        seen.append(len(found["seat"].calls))
        return len(seen) == 3

    found = stopwatch.measure({"seat": ("pytorch", scaled())}, FAST, enough=enough)["seat"]
    assert seen == [5, 6, 7] and len(found.calls) == 7 == found.protocol.blocks
    late = stopwatch.measure({"seat": ("pytorch", scaled())}, FAST, until=0.0)["seat"]
    assert late.ok and len(late.calls) == 5


def test_one_that_has_died_or_failed_is_started_again(stopwatch: Stopwatch) -> None:
    jobs = {"seat": ("pytorch", scaled())}
    stopwatch.measure(jobs, FAST, until=0.0)
    os.kill(process(stopwatch, "seat"), signal.SIGKILL)
    stopwatch._seats["seat"][2]._process.wait()
    assert stopwatch.measure(jobs, FAST, until=0.0)["seat"].ok
    failed = stopwatch.measure({"seat": ("pytorch", Workload(factory="tiny_models:reporting"))}, FAST)["seat"]
    assert "RuntimeError" in (failed.error or "") and not stopwatch.has("seat")
    assert stopwatch.measure(jobs, FAST, until=0.0)["seat"].ok
