"""The graphics cards of this machine, as NVIDIA's driver lists them: needs neither CUDA nor a PyTorch built for it."""

import functools
import shutil
import subprocess
from dataclasses import dataclass

_FIELDS = ("name", "compute_cap", "memory.total", "driver_version")
_TIMEOUT_S = 10


@dataclass(frozen=True)
class Card:
    """A graphics card.

    Attributes:
        name: such as "NVIDIA A100-SXM4-80GB".
        cpu: its architecture, as ``Target.cpu`` spells it: "sm_80".
        memory_mib: of its memory, in MiB.
        driver: version of the driver.
    """

    name: str
    cpu: str
    memory_mib: int
    driver: str


@functools.cache
def read_cards() -> tuple[Card, ...]:
    """List the cards of this machine; none where there is no driver, or it does not answer."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    try:
        done = subprocess.run(
            [command, f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, check=True, timeout=_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_cards(done.stdout)


def parse_cards(listing: str) -> tuple[Card, ...]:
    """Read lines of ``nvidia-smi``: name, compute capability, MiB and driver each; others are left out."""
    cards = []
    for line in listing.splitlines():
        name, *rest = (part.strip() for part in line.rsplit(",", 3))
        if len(rest) == 3 and rest[0].replace(".", "").isdigit() and rest[1].isdigit():
            cards.append(Card(name, f"sm_{rest[0].replace('.', '')}", int(rest[1]), rest[2]))
    return tuple(cards)


def runs_on(cpu: str, card: str) -> bool:
    """Whether machine code for ``cpu`` runs on a card of the architecture ``card``, both as in "sm_80".

    It does on the same major version with an equal or a higher minor one; code for "sm_90a" on sm_90 only.
    """
    wanted, found = int(cpu.removeprefix("sm_").rstrip("a")), int(card.removeprefix("sm_"))
    if cpu.endswith("a"):
        return wanted == found
    return wanted // 10 == found // 10 and wanted <= found
