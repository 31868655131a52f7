"""What the time of a kernel is made of: counts of things done, each of which costs some nanoseconds on a device.

The model is a sum: time = sum of cost * count, with the costs fitted to records. Counts are those of the thread that
has most to do, so that uneven shares of the work are in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from l0compile.hardware.costs.record import Work


@dataclass(frozen=True)
class Machine:
    """What counts depend on.

    threads: that share the work. tile_tokens: lie together in memory. register_tokens: are computed at once; a register
    costs the same full or not. l2_bytes: a core's second-level cache.
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


def counts(work: Work, machine: Machine) -> Mapping[str, float]:
    """Name of a count -> how many. Names are shared by the works that have a cost in common; empty: unknown work."""
    found = _COUNTS[work.op](work, machine) if work.op in _COUNTS else {}
    return {name: float(count) for name, count in found.items() if count}


def _linear(work: Work, machine: Machine) -> dict[str, float]:
    n, k = work.shape
    rows, cols = work.block or (4, 1)
    kind = "dense" if work.block is None else f"{rows}x{cols}"
    tiles, tokens = ceil(work.tokens / machine.tile_tokens), machine.computed(work.tokens)
    # Every tile's block rows are cut into one chunk a thread.
    share = machine.share(ceil(n / rows))
    stored_share = share * ceil(k / cols) * work.density
    blocks = tiles * stored_share
    outputs = share * rows * tokens
    multiplications = stored_share * rows * cols * tokens
    tile_bytes = 4 * k * machine.tile_tokens
    stored = work.density * n * k
    words = work.variant.split("+") if work.variant else []
    return {
        "launch": 1,
        f"multiplication {kind}": multiplications,
        f"multiplication {kind}, tokens beyond the second cache": multiplications
        * min(1.0, tile_bytes / machine.l2_bytes),
        f"block {kind}": blocks,
        f"output {kind}": outputs,
        "byte of weights": 4 * stored + (0 if work.block is None else 4 * stored / (rows * cols)),
        **{f"output, {word}": outputs for word in words},
    }


def _attention(work: Work, machine: Machine) -> dict[str, float]:
    heads, _, dim, value_dim, queries, keys = work.shape
    lanes = heads * machine.computed(work.tokens) / machine.threads
    sequences = min(max(1, work.tokens // max(1, queries)), ceil(machine.register_tokens / max(1, queries)))
    walked: float = keys * sequences
    words = work.variant.split("+") if work.variant else []
    if "causal" in words and queries > machine.register_tokens:
        walked = (keys + machine.register_tokens) / 2  # blocks of queries see the keys up to their own
    scores = lanes * walked
    return {
        "launch": 1,
        "attention: multiplication": scores * (dim + value_dim),
        "attention: score": scores,
        "attention: output": lanes * value_dim,
        **{f"attention: score, {word}": scores for word in words},
    }


def _per_feature(work: Work, machine: Machine) -> dict[str, float]:
    (features,) = work.shape
    tokens = machine.share(machine.computed(work.tokens))
    return {
        "launch": 1,
        f"{work.op} {work.variant}: token": tokens,
        f"{work.op} {work.variant}: number": tokens * features,
    }


def _elementwise(work: Work, machine: Machine) -> dict[str, float]:
    (size,) = work.shape
    return {"launch": 1, "byte moved": size / machine.threads}


_COUNTS = {
    "linear": _linear,
    "attention": _attention,
    "norm": _per_feature,
    "pack": _per_feature,
    "elementwise": _elementwise,
}
