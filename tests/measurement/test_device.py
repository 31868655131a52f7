"""Saved models on a device behind a tracker: a server of TVM's RPC on this machine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import l0compile as l0
from l0compile.errors import ConfigError
from l0compile.measurement import Protocol, Workload, measure_engine
from l0compile.measurement.device import Device
from tests.measurement.rpc_device import free_port, running_device

pytest.importorskip("tornado", reason="TVM's tracker needs tornado (extra 'workers')")

QUICK = Protocol(blocks=2, block_s=0.02, warmup_s=0.0, settle_s=0.0, min_calls=3)


class Sum(nn.Module):
    """Two inputs, whose order matters, and weights of several shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(32, 96), nn.Linear(96, 16)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.down(torch.relu(self.up(x))) + y


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_device() as address:
        yield address


@pytest.fixture(scope="module")
def workload(url: str, tmp_path_factory: pytest.TempPathFactory) -> Workload:
    folder = tmp_path_factory.mktemp("device")
    torch.manual_seed(0)
    inputs = {"x": torch.randn(70, 32), "y": torch.randn(70, 16)}
    l0.compile(Sum().eval(), (inputs["x"], inputs["y"]), engine="tvm").save(folder / "model")
    save_file(inputs, folder / "inputs.safetensors")
    return Workload(
        artifact=str(folder / "model"), inputs_path=str(folder / "inputs.safetensors"), device=url
    )


def test_a_model_is_timed_there(workload: Workload) -> None:
    found = measure_engine("l0compile", workload, QUICK)
    assert found.ok, found.error
    assert 0.0 < found.median_ms < 1000.0


def test_it_computes_there_what_it_computes_here(workload: Workload) -> None:
    # In a process of its own: a session ends, and leaves the device to others, when nothing of it is left.
    given = json.dumps(workload.to_dict())
    command = [sys.executable, "-m", "tests.measurement.remote_answers", given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "text", ["rpc://host/key", "rpc://host:port/key", "rpc://host:9190/", "host:9190/key"]
)
def test_an_address_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"device: expected rpc://HOST:PORT/KEY"):
        Device.parse(text)


def test_no_tracker_and_no_such_device(url: str, workload: Workload) -> None:
    nobody = f"rpc://127.0.0.1:{free_port()}/here"
    found = measure_engine("l0compile", Workload(**{**workload.to_dict(), "device": nobody}), QUICK)
    assert not found.ok and "no tracker answers at 127.0.0.1" in str(found.error)
    other = measure_engine("l0compile", Workload(**{**workload.to_dict(), "device": url + "-else"}), QUICK)
    assert not other.ok and "has no device 'here-else', only here" in str(other.error)


def test_only_saved_models_run_there(url: str) -> None:
    with pytest.raises(ConfigError, match="only saved models run on a device, engine 'onnxruntime' does not"):
        measure_engine("onnxruntime", Workload(onnx_path="x.onnx", factory="a:b", device=url), QUICK)


def test_a_model_with_parts_in_pytorch_is_refused(url: str, workload: Workload, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Softplus(threshold=2), nn.Linear(16, 4)).eval()
    l0.compile(model, (torch.randn(3, 16),), engine="torch").save(tmp_path / "model")
    save_file({"input": torch.randn(3, 16)}, tmp_path / "x.safetensors")
    given = Workload(
        artifact=str(tmp_path / "model"), inputs_path=str(tmp_path / "x.safetensors"), device=url
    )
    found = measure_engine("l0compile", given, QUICK)
    assert not found.ok and "compiled as a whole" in str(found.error)
