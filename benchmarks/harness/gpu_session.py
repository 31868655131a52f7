"""Where rows about GPUs come from: the card of this machine, or a dry run that does everything but launch."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from l0compile.errors import L0CompileError
from l0compile.hardware.targets import Target, load_target
from l0compile.kernels.cuda.toolchain import find_toolchain
from l0compile.measurement import Measurement, Protocol
from l0compile.measurement.cuda import measured_row, read_clocks, require_gpu, throttled, time_calls

Row = dict[str, Any]
Make = Callable[[], Callable[[], Any]]
NOT_MEASURED = "a dry run: built, and not launched"
_FAILURES = (
    L0CompileError,
    RuntimeError,
    NotImplementedError,
)  # which are results, of ours and of other engines


@dataclass(frozen=True)
class GpuSession:
    """What rows are made with.

    Attributes:
        target: of the kernels.
        card: facts of the card, as JSON values.
        nvcc: version of the compiler.
        place: where tensors are: "cuda", or "cpu" in a dry run.
    """

    target: Target
    card: Row
    nvcc: str
    place: str

    @property
    def measures(self) -> bool:
        """Whether there is a card."""
        return self.place == "cuda"

    def timed(self, make: Make) -> Row:
        """The time of what ``make`` returns with the clocks around it, or the error: engines may lack memory, too."""
        if not self.measures:
            make()
            return {"not measured": NOT_MEASURED}
        before = read_clocks()
        try:
            found = time_calls(make(), self.target.l2_bytes)
        except _FAILURES as error:
            torch.cuda.empty_cache()
            found = Measurement.failed(_said(error), Protocol.quick())
        after = read_clocks()
        clocks = [dataclasses.asdict(each) for each in (before, after)]
        return measured_row({"clocks": clocks, "throttled": throttled((before, after))}, found)

    def error_of(self, make: Make, wanted: Callable[[], torch.Tensor]) -> Row:
        """The largest difference of a result from what is wanted, as a share of the largest number."""
        if not self.measures:
            make()
            return {"not measured": NOT_MEASURED}
        try:
            found, exact = make()(), wanted()
        except _FAILURES as error:
            torch.cuda.empty_cache()
            return {"error": _said(error)}
        gap = (found[: len(exact)].double() - exact.double()).abs().max() / exact.double().abs().max()
        return {"largest error": float(gap)}

    def facts(self) -> Row:
        """What each row says of where it comes from."""
        return {"card": self.card, "nvcc": self.nvcc}


def session_here() -> GpuSession:
    """The card of this machine; errors as of ``require_gpu``."""
    here = require_gpu()
    return GpuSession(here.target, dataclasses.asdict(here.card), here.tools.version, "cuda")


def dry_session(target: str) -> GpuSession:
    """No card, for ``target``.

    Raises:
        TargetError: there is no such target.
        MissingDependency: there is no nvcc.
    """
    found = load_target(target)
    return GpuSession(found, {"name": "none"}, find_toolchain().version, "cpu")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
