"""Measuring on a GPU, as far as it needs none: what is missing is named, and predictions are not taken."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from l0compile.errors import DataError, DeviceError, MissingDependency, TargetError
from l0compile.hardware.targets import Card
from l0compile.measurement import Measurement, Protocol
from l0compile.measurement.cuda import Clocks, measured_row, read_clocks, require_gpu, throttled
from l0compile.measurement.cuda.clocks import parse_clocks
from l0compile.measurement.cuda.here import target_of
from l0compile.measurement.cuda.timer import flushed_numbers

ROOT = Path(__file__).parents[3]
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@without_gpu
def test_without_a_driver_the_error_says_what_to_do() -> None:
    with pytest.raises(
        DeviceError, match=r"no NVIDIA driver answers here .* or give a device behind a tracker"
    ):
        require_gpu(())


@without_gpu
def test_a_card_without_a_pytorch_for_it() -> None:
    with pytest.raises(MissingDependency, match=r"NVIDIA A40 is here, and PyTorch .* sees no GPU"):
        require_gpu([Card("NVIDIA A40", "sm_86", 46068, "570.1")])


def test_the_target_of_a_card() -> None:
    assert target_of(Card("NVIDIA L4", "sm_89", 23034, "570.1")).name == "cuda-sm89"
    assert target_of(Card("Jetson Orin", "sm_87", 30000, "540.1")).name == "cuda-sm86"
    with pytest.raises(TargetError, match="Tesla V100 is sm_70, and there are targets for"):
        target_of(Card("Tesla V100", "sm_70", 16160, "570.1"))


def test_clocks_are_read() -> None:
    assert parse_clocks("1410, 1593, 41, 61.52\n") == Clocks(1410.0, 1593.0, 41.0, 61.52)
    assert math.isnan(parse_clocks("1410, 1593, 41, [N/A]").watts)
    with pytest.raises(DeviceError, match=r"expected clocks\.sm, .* got 'No devices were found'"):
        parse_clocks("No devices were found")


def test_without_a_driver_there_are_no_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="nvidia-smi is not on PATH"):
        read_clocks()


@pytest.mark.parametrize(
    ("clocks", "slow"), [((1980, 1980, 1965), False), ((1980, 1400), True), ((math.nan, 5), False)]
)
def test_a_card_that_slows_down_is_noticed(clocks: tuple[float, ...], slow: bool) -> None:
    assert throttled([Clocks(clock, 1.0, 1.0, 1.0) for clock in clocks]) is slow


def test_more_is_written_than_the_cache_holds() -> None:
    assert 4 * flushed_numbers(50 << 20) > 50 << 20


def test_results_hold_what_was_measured() -> None:
    protocol = Protocol.quick()
    row = measured_row({"kernel": "ours"}, Measurement.from_blocks([[1.0, 2.0]] * 5, protocol))
    assert row["times"] == "measured" and row["ms"] == 1.5
    assert measured_row({}, Measurement.failed("no memory", protocol)) == {"error": "no memory"}
    with pytest.raises(DataError, match=r"expected a measured time, got a prediction: predicted 1\.000 ms"):
        measured_row({}, Measurement.of_prediction(0.5, 1.0, 2.0, protocol))


@without_gpu
def test_make_gpu_ends_with_one_clear_line(tmp_path: Path) -> None:
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin"}
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py"], cwd=ROOT, capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("gpu.py: DeviceError: gpu: no NVIDIA driver answers here")
    assert len(done.stderr.splitlines()) == 1
