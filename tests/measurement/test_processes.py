"""Engines in their own process: results, and every kind of failure as data."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from l0compile.errors import ConfigError
from l0compile.measurement import Protocol, Workload, export_onnx, measure_engine, measure_engines
from l0compile.measurement.json_process import environment
from l0compile.measurement.workload import call_factory

FAST = Protocol(warmup_s=0.0, blocks=3, block_s=0.0, settle_s=0.0, min_calls=2, resamples=10)
SCALED = Workload(factory="tiny_models:scaled")
OTHER = """
import json, sys
assert json.loads(sys.stdin.readline())["workload"]["onnx_path"] == "m.onnx"
print(json.dumps({"ready": True}), flush=True)
for _ in sys.stdin:
    print(json.dumps({"block": [1.0, 2.0]}), flush=True)
"""


@pytest.fixture(autouse=True)
def factories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_a_run_and_failures_beside_it() -> None:
    jobs = {
        "fine": ("pytorch", SCALED),
        "raises": ("pytorch", Workload(factory="tiny_models:reporting")),
        "dies": ("pytorch", Workload(factory="tiny_models:dying")),
        "unknown": ("pytorch", Workload(factory="tiny_models:absent")),
    }
    found = measure_engines(jobs, FAST, threads=1)
    assert list(found) == list(jobs)
    assert found["fine"].ok and found["fine"].calls == (2, 2, 2)
    assert found["fine"].protocol.threads == 1
    assert found["raises"].error == "RuntimeError: threads=1 omp=1 denormals=flushed"
    assert "ended with code 3" in (found["dies"].error or "")
    assert "factory: tiny_models has no function 'absent'" in (found["unknown"].error or "")


@pytest.mark.slow
def test_torch_compile() -> None:
    assert measure_engine("torch.compile", SCALED, FAST, threads=1).error is None


def test_a_timeout_is_data() -> None:
    found = measure_engine("pytorch", Workload(factory="tiny_models:slow"), FAST, timeout_s=0.2)
    assert found.error == "pytorch: no answer within 0.2 s"


def test_a_workload_that_does_not_fit_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="needs onnx_path"):
        measure_engine("onnxruntime", SCALED, FAST)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_missing_package_is_data_with_the_command(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / engine).mkdir()
    (tmp_path / engine / "__init__.py").write_text(f"raise ModuleNotFoundError('No module named {engine}')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = measure_engine(engine, Workload(factory="tiny_models:scaled", onnx_path="m.onnx"), FAST)
    assert f"run: pip install {engine}" in (found.error or "")


def test_onnx_engines(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    model, args, _ = call_factory(SCALED)
    path = export_onnx(model, args, tmp_path / "m.onnx")
    assert model.training
    workload = Workload(factory="tiny_models:scaled", onnx_path=str(path))
    found = measure_engines({name: (name, workload) for name in ("onnxruntime", "openvino")}, FAST)
    assert {name: made.error for name, made in found.items()} == {"onnxruntime": None, "openvino": None}


def test_the_worker_alone_speaks_lines_of_json() -> None:
    request = {"engine": "pytorch", "workload": SCALED.to_dict(), "protocol": FAST.to_dict()}
    ran = subprocess.run(
        [sys.executable, "-m", "l0compile.measurement.worker"],
        input=json.dumps(request) + "\nblock\n",
        env=environment(1),
        capture_output=True,
        text=True,
        check=True,
    )
    ready, block = map(json.loads, ran.stdout.splitlines())
    assert ready == {"ready": True} and len(block["block"]) == 2


def test_a_worker_of_another_environment(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(OTHER)
    command = (sys.executable, "-I", "-S", str(tmp_path / "other.py"))
    found = measure_engine("other", Workload(onnx_path="m.onnx", command=command), FAST, threads=1)
    assert found.samples_ms == (1.0, 2.0) * 3
    with pytest.raises(ConfigError, match="expected one of pytorch"):
        measure_engine("other", Workload(onnx_path="m.onnx"), FAST)


def test_the_child_gets_its_threads_and_the_import_path() -> None:
    env = environment(3)
    assert env["OMP_NUM_THREADS"] == env["TVM_NUM_THREADS"] == "3"
    assert str(Path(__file__).parent) in env["PYTHONPATH"]
