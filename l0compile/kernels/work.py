"""A kernel spec as the work that costs are recorded for, and back."""

from dataclasses import asdict
from typing import Any

from l0compile.errors import ConfigError
from l0compile.hardware.costs import Schedule, Work
from l0compile.kernels.cpu.lanes import ACTIVATIONS
from l0compile.kernels.spec import (
    AttentionSpec,
    KernelSpec,
    LinearSchedule,
    LinearSpec,
    MaskSpec,
    NormSpec,
    PackSpec,
    TokenTile,
)

_EPS = 1e-5
_KEY_MASK = MaskSpec((True, False, False, True), True)


def work_of(
    spec: KernelSpec, tokens: int, density: float = 1.0, sizes: tuple[int, int] | None = None
) -> Work | None:
    """The work of one call; None for a kernel whose costs are not recorded.

    Args:
        tokens: of all sequences together. density: share of the blocks that are stored.
        sizes: of attention: queries and keys of a sequence.
    """
    match spec:
        case LinearSpec():
            block = None if spec.dense else (spec.rows, spec.cols)
            variant = [spec.activation, "residual" if spec.residual else ""]
            return Work("linear", (spec.n, spec.k), block, density, tokens, _join(variant))
        case AttentionSpec() if sizes is not None:
            shape = (spec.heads, spec.kv_heads, spec.dim, spec.value_dim, *sizes)
            flags = {"causal": spec.causal, "mask": spec.mask is not None, "bias": spec.bias_heads > 0}
            return Work("attention", shape, tokens=tokens, variant=_join(k for k, on in flags.items() if on))
        case NormSpec():
            return Work("norm", (spec.features,), tokens=tokens, variant="layer" if spec.centred else "rms")
        case PackSpec():
            return Work("pack", (spec.features,), tokens=tokens, variant="unpack" if spec.unpack else "pack")
    return None


def spec_of(work: Work, tile: TokenTile) -> KernelSpec:
    """A kernel that does the work; what does not change its time (a bias, the value of epsilon) is made up.

    Raises: ConfigError for work that no kernel does.
    """
    words, tail = set(work.variant.split("+")) - {""}, work.tokens % tile.lanes
    match work.op, work.shape:
        case "linear", (n, k):
            rows, cols = work.block or (tile.rows, 1)
            activation = next(iter(words - {"residual"}), "")
            if activation in ACTIVATIONS and len(words - {"residual"}) <= 1:
                dense, residual = work.block is None, "residual" in words
                return LinearSpec(n, k, rows, cols, dense, True, residual, activation, tail)
        case "attention", (heads, kv_heads, dim, value_dim, queries, _) if heads and kv_heads and queries:
            mask = _KEY_MASK if "mask" in words else None
            causal, bias = "causal" in words, int("bias" in words)
            return AttentionSpec(heads, kv_heads, dim, value_dim, dim**-0.5, causal, mask, bias)
        case "norm", (features,) if words in ({"layer"}, {"rms"}):
            centred = words == {"layer"}
            return NormSpec(features, _EPS, centred, True, centred, features, tail=tail)
        case "pack", (features,) if words in ({"pack"}, {"unpack"}):
            return PackSpec(features, unpack=words == {"unpack"})
    raise ConfigError(f"costs: no kernel does {work}")


def schedule_data(schedule: LinearSchedule | None) -> Schedule:
    """A schedule as plain data."""
    return () if schedule is None else tuple(sorted(asdict(schedule).items()))


def schedule_from(data: Schedule) -> LinearSchedule | None:
    """The schedule that ``schedule_data`` gave ``data`` for. Raises ConfigError for other fields."""
    values: dict[str, Any] = dict(data)
    if not values:
        return None
    try:
        return LinearSchedule(**values)
    except TypeError as error:
        raise ConfigError(f"costs: {values} is no schedule: {error}") from error


def _join(words: Any) -> str:
    return "+".join(word for word in words if word)
