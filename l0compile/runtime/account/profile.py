"""One call of a compiled model, taken apart, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

FunctionKind = Literal["kernel", "ordinary", "island"]


@dataclass(frozen=True)
class FunctionTime:
    """One launch of one compiled function.

    Attributes:
        function: its name in the compiled code (``linear_3``); that of an ordinary operator names what was fused into
            it (``fused_add_multiply``); ``island_0`` is the first stage that PyTorch runs.
        kind: ``kernel``: one of ours; ``ordinary``: operators that TVM was given as they are; ``island``: PyTorch.
        region: name of the Region that it computes, if any.
        where: module path of a kernel, source of an island, None for ordinary operators.
        ms: median over the repetitions.
    """

    function: str
    kind: FunctionKind
    region: str | None
    where: str | None
    ms: float


@dataclass(frozen=True)
class Profile:
    """One call, taken apart.

    Attributes:
        sizes: size of each dynamic dimension, by label.
        threads: worker threads of the kernels.
        total_ms: median of whole calls, measured without looking inside.
        functions: every function in the order in which they run, each timed in a launch of its own. Within a call,
            neighbours share a launch: together they may take less than these.
    """

    sizes: Mapping[str, int]
    threads: int
    total_ms: float
    functions: tuple[FunctionTime, ...]

    @property
    def between_ms(self) -> float:
        """What a call takes beside its functions (input checks, memory, the virtual machine); at least 0."""
        return max(0.0, self.total_ms - sum(item.ms for item in self.functions))
