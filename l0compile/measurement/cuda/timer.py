"""Time calls on a GPU between two events of its stream, with cold caches, replayed as a graph."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from l0compile.errors import DataError
from l0compile.measurement.protocol import Protocol
from l0compile.measurement.result import Measurement

_FLUSH = 2  # times the second cache that is written between two calls


@dataclass(frozen=True)
class GpuProtocol:
    """How a call is timed.

    Attributes:
        blocks: of calls.
        calls: of a block.
        warmup: calls before the first block.
        flush: write more than the second cache holds between two calls: weights then come from memory, as in a model.
        graph: replay a CUDA graph of the call, so that the work of the host is left out.
    """

    blocks: int = 9
    calls: int = 15
    warmup: int = 5
    flush: bool = True
    graph: bool = True


def time_calls(call: Callable[[], object], l2_bytes: int, protocol: GpuProtocol | None = None) -> Measurement:
    """Time ``call``, which puts work on PyTorch's current stream; needs a GPU.

    Args:
        call: takes nothing, and allocates nothing that it keeps.
        l2_bytes: of the second cache.
        protocol: how; default: ``GpuProtocol()``.
    """
    protocol = protocol or GpuProtocol()
    timed = TimedCall(call, l2_bytes, protocol)
    blocks = [timed.block(protocol.calls) for _ in range(protocol.blocks)]
    return Measurement.from_blocks(blocks, Protocol(blocks=protocol.blocks, min_calls=protocol.calls))


class TimedCall:
    """A call that is ready to be timed; needs a GPU.

    Args:
        call: as ``time_calls`` takes it.
        l2_bytes: of the second cache.
        protocol: how; default: ``GpuProtocol()``. Its numbers of blocks and calls are the caller's business.
    """

    def __init__(
        self, call: Callable[[], object], l2_bytes: int, protocol: GpuProtocol | None = None
    ) -> None:
        import torch

        protocol = protocol or GpuProtocol()
        self._run = _captured(call, protocol.warmup) if protocol.graph else call
        numbers = flushed_numbers(l2_bytes) if protocol.flush else 0
        self._waste = torch.empty(numbers, dtype=torch.int32, device="cuda")
        for _ in range(protocol.warmup):
            self._run()

    def block(self, calls: int) -> list[float]:
        """Milliseconds of each of some calls, between two events of PyTorch's current stream."""
        import torch

        pairs = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(calls)
        ]
        for start, end in pairs:
            self._waste.zero_()
            start.record()
            self._run()
            end.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) for start, end in pairs]


def flushed_numbers(l2_bytes: int) -> int:
    """How many int32 numbers are written to have nothing left of what was in the second cache."""
    return _FLUSH * l2_bytes // 4


def measured_row(row: Mapping[str, Any], found: Measurement) -> dict[str, Any]:
    """Add a measured time to a row of results, or why there is none.

    Raises:
        DataError: the time is predicted: it does not belong among measured ones.
    """
    if found.predicted:
        raise DataError(
            f"gpu: expected a measured time, got a prediction: {found}; results hold what was measured"
        )
    if not found.ok:
        return {**row, "error": found.error}
    times = {"ms": found.median_ms, "low_ms": found.low_ms, "high_ms": found.high_ms, "noisy": found.noisy}
    return {**row, "times": "measured", **times}


def _captured(call: Callable[[], object], warmup: int) -> Callable[[], object]:
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(
        stream
    ):  # libraries set themselves up in their first calls, which no graph may hold
        for _ in range(warmup):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay
