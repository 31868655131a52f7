"""What the cost model is told about a device and about the kernels that run there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

from l0compile.hardware.costs.record import KernelWorkload


@dataclass(frozen=True)
class Machine:
    """What counts depend on.

    Attributes:
        threads: threads that share the work.
        tile_tokens: tokens that lie together in memory.
        register_tokens: tokens computed at once; a register costs the same full or not.
        l2_bytes: bytes of a core's second-level cache.
    """

    threads: int
    tile_tokens: int
    register_tokens: int
    l2_bytes: int

    def share(self, tasks: int) -> int:
        """Tasks of the busiest thread when they are dealt evenly."""
        return ceil(tasks / self.threads)

    def computed(self, tokens: int) -> int:
        """Tokens of the registers that hold any."""
        return ceil(tokens / self.register_tokens) * self.register_tokens


@dataclass(frozen=True)
class CountedKernel:
    """The kernels of one operator, as the cost model sees them.

    The model is a sum, time = sum of cost * count, with costs fitted to records.

    Attributes:
        op: ``KernelWorkload.op`` of their records.
        counts: (workload, machine) -> counts of things done, by name.
        words: words of a variant that bring two workloads apart without making them strangers; without any, each
            variant is predicted from its own records.
        versions: ``CostPlace.versions`` of records that hold for the code as it is.
    """

    op: str
    counts: Callable[[KernelWorkload, Machine], Mapping[str, float]]
    words: tuple[str, ...]
    versions: str
