"""Reports with everything in them: chosen, front, slow and failed candidates, an engine that did not run.

``report`` is as searches left it that measured every trial, ``search`` as they do now.
"""

import pytest

from l0compile.ir.records import Region
from l0compile.measurement import Ratio
from l0compile.studies.result import Candidate, Latency, Requirement, Row, SearchResult

Layers = dict[str, list[object]]


def candidate(
    number: int, ms: float, quality: float | None, outcome: str = "trained", **rest: object
) -> Candidate:
    choices = {"encoder.density": round(0.05 * number + 0.05, 3), "encoder.block": "4x1"}
    return Candidate(number, choices, outcome, Latency(ms, 0.97 * ms, 1.06 * ms), quality, **rest)  # type: ignore[arg-type]


@pytest.fixture
def report() -> SearchResult:
    regions = []
    for layer in range(6):
        name = f"bert.encoder.layer.{layer}"
        query = f"{name}.attention.self.query"
        regions += [
            Region(query, "linear", (384, 384), (320, 384), 0.83, "compact", None, "2 of 12 heads are closed"),
            Region(f"{name}.intermediate.dense", "linear", (1536, 384), (1536, 384), 0.2, "bsr", (4, 1), "density 0.2"),
            Region(f"{name}.output.dense", "linear", (384, 1536), (384, 1536), 0.97, "dense", None, "too few zeros"),
        ]  # fmt: skip
    regions.append(
        Region("bert.pooler", "linear", (384, 384), (0, 0), 0.0, "dropped", None, "its output is unused")
    )
    return SearchResult(
        title="all-MiniLM-L6-v2 under 4 ms",
        quality_name="Spearman against the dense model, held-out text",
        rows=(
            Row("PyTorch, dense", Latency(21.2, 20.8, 21.9), 1.0),
            Row("ONNX Runtime, dense", Latency(10.6, 10.4, 10.9), 1.0),
            Row("OpenVINO, dense", None, None, note="openvino is not installed"),
            Row("l0compile, dense", Latency(6.9, 6.85, 7.0), 1.0),
            Row(
                "l0compile, chosen",
                Latency(3.1, 3.05, 3.2),
                0.931,
                dense=False,
                speedup=Ratio(3.42, 3.38, 3.5),
            ),
        ),
        reference="ONNX Runtime, dense",
        candidates=(
            candidate(0, 2.1, 0.81, front=True),
            candidate(1, 2.6, 0.88, front=True),
            candidate(2, 3.1, 0.931, front=True, chosen=True),
            candidate(3, 3.4, 0.92),
            candidate(4, 3.8, 0.944, front=True),
            candidate(5, 5.9, None, outcome="too slow"),
            Candidate(6, {"encoder.density": 0.4}, "failed", error="build: LLVM ran out of registers"),
        ),
        regions=tuple(regions),
        budget_ms=4.0,
        facts={"machine": {"cpu": "EPYC", "cores": 2}, "protocol": {"blocks": 20, "warmup_s": 0.5}},
        asked=(
            Requirement(
                "latency of at most 4 ms", "0.775 of the budget [0.763, 0.8], faster than needed", met=True
            ),
            Requirement("at most 30 MB on disk", "31.2 MB", met=False),
        ),
    )


def fitted(
    number: int, wanted: float, ms: float, quality: float, trial: Candidate, layers: Layers, **rest: object
) -> Candidate:
    choices = {name: value for name, value in trial.choices.items() if name != "live"}
    return Candidate(
        number, choices, "fitted", Latency(ms, 0.98 * ms, 1.03 * ms), quality,
        layers=layers, wanted_ms=wanted, predicted_ms=1.02 * ms, **rest,
    )  # type: ignore[arg-type]  # fmt: skip


def layers(density: float) -> Layers:
    found: Layers = {}
    for number in range(2):
        found[f"bert.layer.{number}.query"] = [None, 1.0]
        found[f"bert.layer.{number}.up"] = ["4x1", density]
        found[f"bert.layer.{number}.down"] = ["8x1", density / 2] if number else ["4x4", 0.0]
    return found


@pytest.fixture
def search() -> SearchResult:
    """A search whose trials are not measured: what fits the budget, and points around it, is."""
    trials = [
        Candidate(n, {"weight.up": w, "tilt.down": t, "live": 0.2}, "one-shot", quality=q, layers=layers(0.2))
        for n, w, t, q in ((0, 1.0, 0.0, 0.78), (1, 0.25, -1.5, 0.9), (2, 4.0, 1.5, 0.84))
    ]
    failed = Candidate(3, {"weight.up": 2.0, "tilt.down": 0.5}, "failed", error="BuildError: no registers")
    regions = tuple(
        Region(name, "linear", (1536, 384) if name.endswith("up") else (384, 384), (1, 1), d, "bsr", None, "searched")
        for name, (_, d) in layers(0.2).items()
    )  # fmt: skip
    return SearchResult(
        title="all-MiniLM-L6-v2 under 4 ms",
        quality_name="Spearman",
        rows=(
            Row("ONNX Runtime, dense", Latency(10.6, 10.4, 10.9), 1.0),
            Row("chosen", Latency(3.9, 3.8, 4.0), 0.93, False),
        ),
        reference="ONNX Runtime, dense",
        candidates=(
            *trials,
            failed,
            fitted(4, 4.0, 3.92, 0.92, trials[1], layers(0.2), front=True, chosen=True),
            fitted(5, 4.0, 3.96, 0.91, trials[2], layers(0.24)),
            fitted(6, 3.0, 2.4, 0.85, trials[1], layers(0.12), front=True),
            fitted(7, 5.2, 5.5, 0.95, trials[1], layers(0.4), front=True),
        ),
        regions=regions,
        budget_ms=4.0,
        facts={"machine": {"fingerprint": {"arch": "x86_64", "model": "EPYC", "isa": "x86-64-v4", "cores": "2"}}},
    )  # fmt: skip
