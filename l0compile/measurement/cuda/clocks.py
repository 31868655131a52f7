"""The clocks of a GPU while it is timed: a card that is hot or short of power slows down, and figures with it."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from l0compile.errors import DeviceError

_FIELDS = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")
# A clock that is this much below the highest of a run counts as throttled.
_SLOWER = 0.95


@dataclass(frozen=True)
class Clocks:
    """What a card reported at one moment.

    Attributes:
        sm_mhz: clock of its multiprocessors.
        memory_mhz: clock of its memory.
        celsius: its temperature.
        watts: what it draws.
    """

    sm_mhz: float
    memory_mhz: float
    celsius: float
    watts: float


def read_clocks() -> Clocks:
    """Ask the driver.

    Raises:
        DeviceError: it does not answer, or says something else.
    """
    command = shutil.which("nvidia-smi")
    if command is None:
        raise DeviceError("gpu: nvidia-smi is not on PATH; install the NVIDIA driver")
    query = [command, f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits", "--id=0"]
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=10)
    return parse_clocks(done.stdout or done.stderr)


def parse_clocks(text: str) -> Clocks:
    """Read a line of four numbers; what a card does not report, such as "[N/A]", is NaN.

    Raises:
        DeviceError: the text is something else.
    """
    parts = [part.strip() for part in text.strip().splitlines()[:1] for part in part.split(",")]
    if len(parts) != len(_FIELDS):
        raise DeviceError(f"gpu: nvidia-smi: expected {', '.join(_FIELDS)}, got {text.strip()[:200]!r}")
    return Clocks(*map(_number, parts))


def throttled(seen: Sequence[Clocks]) -> bool:
    """Whether the multiprocessors ran slower for a while than at their best."""
    clocks = [each.sm_mhz for each in seen if each.sm_mhz == each.sm_mhz]
    return bool(clocks) and min(clocks) < _SLOWER * max(clocks)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
