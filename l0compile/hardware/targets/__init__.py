"""What the compiler needs to know about a machine: a frozen ``Target``, read from TOML or detected."""

from l0compile.hardware.targets.card import Card, read_cards, runs_on
from l0compile.hardware.targets.gpu import Gpu
from l0compile.hardware.targets.host import Host, available_cores, host_supports, read_host
from l0compile.hardware.targets.load import list_targets, load_target, parse_target, target_of_card
from l0compile.hardware.targets.native import native_target
from l0compile.hardware.targets.occupancy import Occupancy, occupancy
from l0compile.hardware.targets.shipped import shipped_folder
from l0compile.hardware.targets.target import Core, Target

__all__ = [
    "Card",
    "Core",
    "Gpu",
    "Host",
    "Occupancy",
    "Target",
    "available_cores",
    "host_supports",
    "list_targets",
    "load_target",
    "native_target",
    "occupancy",
    "parse_target",
    "read_cards",
    "read_host",
    "runs_on",
    "shipped_folder",
    "target_of_card",
]
