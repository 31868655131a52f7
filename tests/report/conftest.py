"""A report with everything in it: chosen, front, slow and failed candidates, an engine that did not run."""

import pytest

from l0compile.records import Region
from l0compile.result import Candidate, Latency, Row, SearchResult


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
            Row("l0compile, chosen", Latency(3.1, 3.05, 3.2), 0.931, dense=False),
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
    )
