"""The heads of attention that a space gives patterns: what each pattern costs in time and in loss."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from l0compile.attention.assignment.assign import EveryKey, HeadPattern, assign_patterns
from l0compile.attention.assignment.calls import AttentionSite, attention_sites
from l0compile.attention.assignment.kinds import head_patterns
from l0compile.attention.assignment.losses import pattern_losses
from l0compile.errors import ConfigError
from l0compile.ir.codec import Count, decode, encode
from l0compile.studies.pruning.allocation import Allocation
from l0compile.studies.pruning.level import Level
from l0compile.studies.pruning.prices import Prices
from l0compile.studies.space.space import Space
from l0compile.tasks import Task


@dataclass(frozen=True)
class HeadPrices:
    """What a head of one attention takes.

    group: of the space. heads: query heads. dense_ms: of a head that sees all keys. ms, kept: of each candidate of the
    group, the latter as a share of all scores.
    """

    group: str
    heads: Count
    dense_ms: float
    ms: tuple[float, ...]
    kept: tuple[float, ...]

    def to_json(self) -> Any:
        """Convert to JSON types."""
        return encode(self)

    @classmethod
    def from_json(cls, data: Any) -> "HeadPrices":
        """Return what `to_json` wrote.

        Raises:
            ConfigError: the values are something else.
        """
        return decode(data, cls, "job: attention", ConfigError)


def candidates_of(space: Space) -> dict[str, tuple[HeadPattern, ...]]:
    """Return the candidates of each group of attention."""
    return {
        group.name: head_patterns(group.candidates, f"{space.name}: {group.name}.candidates")
        for group in space.attention
    }


def head_name(site: str, head: int) -> str:
    """Return the name of a head in allocations."""
    return f"{site or 'the model'} (head {head})"


def price_heads(task: Task, space: Space, prices: Prices) -> dict[str, HeadPrices]:
    """Price the heads of every attention that ``space`` names, by the name of the module that calls it.

    Raises:
        ConfigError: a pattern matches no module that calls attention, or two groups match the same.
    """
    if not space.attention:
        return {}
    sites, found = attention_sites(task.dense(), task.example()), dict[str, HeadPrices]()
    candidates = candidates_of(space)
    for group in space.attention:
        matched = [name for name in sites if any(fnmatchcase(name, pattern) for pattern in group.patterns)]
        if not matched:
            raise ConfigError(
                f"{space.name}: attention {group.name!r}: patterns: expected modules that call "
                f"scaled_dot_product_attention, such as {', '.join(list(sites)[:3]) or 'none of this model'}; got "
                f"{list(group.patterns)}"
            )
        if twice := [name for name in matched if name in found]:
            raise ConfigError(
                f"{space.name}: attention {group.name!r}: expected each attention in one group, got {twice[0]!r} twice"
            )
        for name in matched:
            found[name] = _priced(group.name, sites[name], candidates[group.name], prices)
    return found


def heads_by_group(space: Space, sites: Mapping[str, HeadPrices]) -> dict[str, tuple[str, ...]]:
    """Return the names of the heads of each group of attention, in the order of the model."""
    return {
        group.name: tuple(
            head_name(name, head)
            for name, prices in sites.items()
            if prices.group == group.name
            for head in range(prices.heads)
        )
        for group in space.attention
    }


def _priced(group: str, site: AttentionSite, candidates: Sequence[HeadPattern], prices: Prices) -> HeadPrices:
    programs = [candidate.program(site.queries, site.keys) for candidate in candidates]
    return HeadPrices(
        group,
        site.heads,
        prices.head_ms(site, None),
        tuple(prices.head_ms(site, program) for program in programs),
        tuple(program.kept(site.queries, site.keys) for program in programs),
    )


def head_levels(
    model: nn.Module,
    sites: Mapping[str, HeadPrices],
    candidates: Mapping[str, tuple[HeadPattern, ...]],
    batches: Iterable[object],
    predict: Callable[[nn.Module, object], Tensor],
    seed: int,
) -> dict[str, tuple[Level, ...]]:
    """Return the levels of every head, by its name: all keys first, then each candidate.

    Args:
        model: the dense model.
        sites: name of a module that calls attention -> what its heads take.
        candidates: of each group.
        batches: calibration inputs without padding.
        predict: as in ``pattern_losses``.
        seed: as in ``pattern_losses``.
    """
    found: dict[str, tuple[Level, ...]] = {}
    given = list(batches) if sites else []
    for group, patterns in candidates.items():
        own = [name for name, prices in sites.items() if prices.group == group]
        losses = pattern_losses(model, own, patterns, given, predict, seed=seed)
        for name in own:
            prices = sites[name]
            for head in range(prices.heads):
                levels = [Level(None, 0, 1.0, 0.0, prices.dense_ms)]
                for number, pattern in enumerate(patterns):
                    loss = float(losses[name][number, head])
                    ms, kept = prices.ms[number], prices.kept[number]
                    levels.append(Level(None, number + 1, kept, loss, ms, pattern=str(pattern)))
                found[head_name(name, head)] = tuple(levels)
    return found


def with_patterns(
    model: nn.Module,
    allocation: Allocation,
    sites: Mapping[str, HeadPrices],
    candidates: Mapping[str, tuple[HeadPattern, ...]],
) -> nn.Module:
    """Give the heads of ``model``, in place, the patterns of an allocation."""
    chosen: dict[str, list[HeadPattern]] = {}
    losses: dict[str, list[float]] = {}
    for name, prices in sites.items():
        levels = [allocation.layers[head_name(name, head)] for head in range(prices.heads)]
        numbers = [level.number for level in levels]
        if any(numbers):
            every = EveryKey()
            chosen[name] = [candidates[prices.group][n - 1] if n else every for n in numbers]
            losses[name] = [level.loss for level in levels]
    return assign_patterns(model, chosen, losses)
