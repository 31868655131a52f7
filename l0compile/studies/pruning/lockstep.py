"""Run many batches through a model in step: at each chosen layer, all of them wait for the last one.

The best weights of a layer depend on all of its inputs, which depend on the weights of the layers before. One pass in
step sets the weights layer by layer; running the model again for each layer would take one pass per layer.
"""

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.errors import DataError

_OUT_OF_STEP = "search: calibration batches take different paths: one reached {}, another {}"
Visit = Callable[[str, list[Tensor]], list[Tensor]]


def run_in_step(
    runs: Sequence[Callable[[], Any]], layers: Mapping[str, Sequence[nn.Module]], visit: Visit
) -> None:
    """Run all forward passes side by side, one at a time, without gradients.

    Args:
        runs: forward passes; each reaches every layer once, all in the same order.
        layers: name -> its modules, one for each copy of the model that takes part.
        visit: called once for each layer with the inputs of all runs; returns the layer's output for each run.

    Raises:
        DataError: a run reaches the layers in another order, or misses some.
        Exception: what ``visit`` or a run raises.
    """
    meeting = _Meeting(len(runs), visit)
    threads = [
        threading.Thread(target=meeting.take_part, args=(number, run), daemon=True)
        for number, run in enumerate(runs)
    ]
    try:
        for name, modules in layers.items():
            for module in modules:
                # Set on the instance, this hides the method of the class.
                module.forward = functools.partial(meeting.arrive, name)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for modules in layers.values():
            for module in modules:
                module.__dict__.pop("forward", None)
    if meeting.error is not None:
        raise meeting.error
    if missed := [name for name in layers if name not in meeting.visited]:
        raise DataError(f"search: calibration batches never reached {', '.join(missed[:5])}")


_LOCAL = threading.local()


@dataclass
class _Meeting:
    """Where runs wait for each other.

    One runs at a time. Each waits at a semaphore of its own, so that the end of a turn wakes one run and not all of
    them.
    """

    size: int
    visit: Visit
    error: BaseException | None = None
    visited: list[str] = field(default_factory=list)
    arrived: list[tuple[str, Tensor]] = field(default_factory=list)
    results: list[Tensor] = field(default_factory=list)
    gates: list[threading.Semaphore] = field(init=False)

    def __post_init__(self) -> None:
        self.gates = [threading.Semaphore(int(number == 0)) for number in range(self.size)]

    def take_part(self, number: int, run: Callable[[], Any]) -> None:
        _LOCAL.number = number
        try:
            self._wait(number)
            with torch.no_grad():
                run()
            if self.arrived:
                raise DataError(_OUT_OF_STEP.format("its end", self.arrived[0][0]))
            self._next(number)
        except _Stopped:
            pass
        except BaseException as error:  # the caller's thread raises it
            self._stop(error)

    def arrive(self, name: str, input: Tensor) -> Tensor:
        """Stand in for the ``forward`` of a layer, whose argument is also called ``input``."""
        number = _LOCAL.number
        if number == 0:
            self.arrived = []
        elif len(self.arrived) != number or self.arrived[0][0] != name:
            raise DataError(_OUT_OF_STEP.format(name, self.arrived[0][0] if self.arrived else "its end"))
        self.arrived.append((name, input))
        if number == self.size - 1:
            if name in self.visited:
                raise DataError(
                    f"search: {name} runs twice in a call; leave out layers that the model uses twice"
                )
            self.visited.append(name)
            self.results = self.visit(name, [x for _, x in self.arrived])
            self.arrived = []
        self._next(number)
        self._wait(number)
        return self.results[number]

    def _next(self, number: int) -> None:
        self.gates[(number + 1) % self.size].release()

    def _wait(self, number: int) -> None:
        self.gates[number].acquire()
        if self.error is not None:
            raise _Stopped

    def _stop(self, error: BaseException) -> None:
        self.error = self.error or error
        for gate in self.gates:
            gate.release()


class _Stopped(Exception):
    """Another run failed."""
