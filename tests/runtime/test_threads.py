"""``threads=``: with one, a call uses the thread that it comes from, beside others; with more, one call at a time."""

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import l0compile as l0
from l0compile.errors import ConfigError
from l0compile.hardware.process import torch_threads


class Islands(nn.Module):
    """Compiled code, an island, compiled code."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 96), nn.Linear(96, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(x).relu()
        return self.down(torch.fft.irfft(torch.fft.rfft(y) * 2, n=96))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Islands().eval()


@pytest.fixture(scope="module")
def saved(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("threads")
    paths = {name: folder / name for name in ("tvm", "torch", "all")}
    for name, path in paths.items():
        options: Any = {"engine": "tvm"} if name == "all" else {"engine": name, "threads": 1}
        l0.compile(model, (torch.randn(3, 16),), dynamic_shapes={"x": {0: "batch"}}, **options).save(path)
    return paths


def in_threads(count: int, work: Any) -> None:
    failed: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


@pytest.mark.parametrize("engine", ["tvm", "torch"])
@pytest.mark.parametrize("threads", [None, 2])  # None: what it was compiled for, which is 1
def test_many_callers_get_the_bits_of_one(saved: dict[str, Path], engine: str, threads: int | None) -> None:
    one, each = l0.load(saved[engine], threads=threads), [l0.load(saved[engine]) for _ in range(6)]
    assert one.threads == (threads or 1)
    inputs = [torch.randn(1 + 13 * number, 16) for number in range(6)]
    expected = [one(x) for x in inputs]

    def work(number: int) -> None:
        for _ in range(30):
            assert torch.equal(one(inputs[number]), expected[number])
            assert torch.equal(each[number](inputs[number]), expected[number])

    in_threads(6, work)


def test_a_call_waits_for_no_other(saved: dict[str, Path]) -> None:
    """Two calls of one model meet inside it."""
    model = l0.load(saved["tvm"])
    meeting, island = threading.Barrier(2, timeout=60), model._plan.steps[1].stage
    function, *rest = island._calls[0]

    def meet(*args: Any) -> Any:
        meeting.wait()
        return function(*args)

    island._calls[0] = (meet, *rest)
    in_threads(2, lambda number: model(torch.randn(3 + number, 16)))


def test_the_number_is_kept_and_checked(model: nn.Module, saved: dict[str, Path], tmp_path: Path) -> None:
    l0.load(saved["torch"], threads=3).save(tmp_path / "m")
    assert l0.load(tmp_path / "m").threads == 3
    for wrong in (0, -1, True, 1.0, "2"):
        with pytest.raises(ConfigError, match="threads: expected None or a number from 1, got"):
            l0.load(saved["torch"], threads=wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="threads: expected"):
            l0.compile(model, (torch.randn(3, 16),), threads=wrong)  # type: ignore[arg-type]


def test_pytorchs_limit_belongs_to_the_calling_thread() -> None:
    before = torch.get_num_threads()
    inside, after = threading.Barrier(2, timeout=60), threading.Barrier(2, timeout=60)
    seen: dict[int, int] = {}

    def work(number: int) -> None:
        with torch_threads(number + 1):
            inside.wait()
            seen[number] = torch.get_num_threads()
            after.wait()
        assert torch.get_num_threads() == before

    in_threads(2, work)
    assert seen == {0: 1, 1: 2} and torch.get_num_threads() == before


def test_threads_of_tvm(saved: dict[str, Path]) -> None:
    """One starts no other; a number holds for a model, whichever ran in this thread before."""
    code = f"""
        import json, os, signal, threading
        import torch, l0compile as l0
        from l0compile.hardware._tvm import tvm

        def running():
            return len(os.listdir("/proc/self/task")) - before

        torch.set_num_threads(1)
        x, beside, used = torch.randn(200, 16), [], []
        alone, two, three = (l0.load({str(saved["tvm"])!r}, threads=n) for n in (1, 2, 3))
        usual = l0.load({str(saved["all"])!r})
        expected = alone(x)
        before, done = len(os.listdir("/proc/self/task")), threading.Barrier(3)

        def calls():
            for _ in range(20):
                assert torch.equal(alone(x), expected)
            beside.append(running())
            done.wait()

        def order():
            for model in (usual, three, usual, two, alone, usual, three, two):
                assert torch.equal(model(x), expected)
                used.append(tvm.get_global_func("runtime.NumThreads")())

        for work, number in ((calls, 3), (order, 1)):
            threads = [threading.Thread(target=work) for _ in range(number)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            os._exit(0 if torch.equal(alone(x), expected) else 1)
        print(json.dumps([max(beside), used, os.waitpid(child, 0)[1]]))
    """
    environment = {**os.environ, "TVM_NUM_THREADS": "3"}
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    beside, used, forked = json.loads(ran.stdout)
    assert forked == 0  # a child has none of its parent's threads, and needs none
    assert beside <= 3  # the three callers themselves
    usual = used[0]
    assert used == [usual, 3, usual, 2, 2, usual, 3, 2]
