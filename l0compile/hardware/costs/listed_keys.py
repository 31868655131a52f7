"""What attention to listed keys takes, and whether attention to all keys is quicker."""

from l0compile.hardware.costs.lookup import Costs
from l0compile.hardware.costs.record import KernelWorkload

# Share of the speed of attention to all keys that lists reach where nothing was measured.
_EFFICIENCY = 0.9


def listed_ms(costs: Costs, work: KernelWorkload) -> float | None:
    """Predict the milliseconds of attention to listed keys; ``work.density``: the share of keys that a row lists.

    Where no lists were measured: that share of attention to all keys, a little slower.
    """
    found = costs.estimate(work)
    if found is not None:
        return found.ms
    dense = all_keys_ms(costs, work)
    return None if dense is None else dense * min(1.0, work.density / _EFFICIENCY)


def all_keys_ms(costs: Costs, work: KernelWorkload) -> float | None:
    """Predict the milliseconds of attention to all keys in its place, with every key that it masks."""
    words = {"bias": {"partial", "columns", "bias"} & set(work.words), "softcap": "softcap" in work.words}
    variant = "+".join(word for word, on in words.items() if on)
    found = costs.estimate(
        KernelWorkload("attention", work.shape[:6], tokens=work.tokens, variant=variant, dtype=work.dtype)
    )
    return None if found is None else found.ms


def lists_pay(costs: Costs, work: KernelWorkload) -> bool:
    """Whether attention to listed keys is quicker than to all of them; True where nothing is known."""
    listed, dense = listed_ms(costs, work), all_keys_ms(costs, work)
    return listed is None or dense is None or listed <= dense
