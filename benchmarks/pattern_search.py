"""Claim: patterns chosen head by head beat one pattern for all heads, at every budget of time.

    python benchmarks/pattern_search.py [--models bytes minilm] [--rounds 3]

Two models: MiniLM over 512 tokens of IMDB reviews, and a causal language model over bytes (2,048 tokens) that is
trained on Python's standard library here. No weight is changed. For each candidate the model with this pattern at every
head is compiled and measured: its time is the budget. Losses of every candidate at every head come from calibration
inputs (``l0compile.attention.pattern_losses``), its price from the measured times; a knapsack then chooses a pattern
for each head, three times with other weights of the layers, and the best on validation inputs is taken, as in the
trials of a search. The chosen model is compiled, measured in turns with the uniform one, and where it is
slower chosen anew at a lower price. ``loss``: on held-out inputs; bytes: nats a byte above the dense model's; MiniLM: 1
- cosine with the dense model's embedding. Wanted: less loss at every budget. Appends to
``benchmarks/results/pattern_search.jsonl`` and draws ``pattern_search.png``.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from harness import pattern_models, plots, record
from torch import Tensor, nn

import l0compile as l0
from l0compile.attention.assignment.assign import HeadPattern, assign_patterns
from l0compile.attention.assignment.calls import AttentionSite, attention_sites
from l0compile.studies.fit.heads import HeadPrices, head_levels, with_patterns
from l0compile.studies.pruning.allocation import Allocation, Menu
from l0compile.studies.space.candidate import Choices

GROUP = "attention"
# A model may take this much longer than its budget: medians of one model differ by as much.
SAME = 1.01
# How much more the last layer counts than the first, as logarithms: what trials of a search try, too.
TILTS = (0.0, -1.0, 1.0)


@dataclass(frozen=True)
class Subject:
    """A model with its candidates and what it is measured on."""

    name: str
    dense: nn.Module
    example: tuple[Tensor, ...]
    candidates: tuple[HeadPattern, ...]
    calibration: Sequence[Tensor]
    predict: Callable[[nn.Module, Tensor], Tensor]
    loss: Callable[[nn.Module], float]
    trial: Callable[[nn.Module], float]


def main() -> None:
    """Append a row for each budget of each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", choices=list(pattern_models.MODELS), default=list(pattern_models.MODELS)
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for name in options.models:
        subject = Subject(name, *pattern_models.MODELS[name]())
        for row in compare(subject, options.rounds):
            record.append("pattern_search", row)
            rows.append(row)
    (record.RESULTS / "pattern_search.png").write_bytes(plots.draw_pattern_search(rows))


def compare(subject: Subject, rounds: int) -> list[dict[str, object]]:
    """Return a row for each candidate that takes less time than the dense model."""
    sites = attention_sites(subject.dense, subject.example)
    whole = _compiled(subject, subject.dense)
    uniform = {c: _compiled(subject, _uniform(subject, sites, c)) for c in subject.candidates}
    ms = _in_turns(subject.example, [whole, *uniform.values()])
    dense_ms, of = ms[0], dict(zip(subject.candidates, ms[1:], strict=True))
    prices = _prices(subject, sites, dense_ms, of)
    batches = subject.calibration
    levels = head_levels(subject.dense, prices, {GROUP: subject.candidates}, batches, subject.predict, seed=0)
    menu, rows = Menu(levels, {}), []
    for candidate, budget in sorted(of.items(), key=lambda item: item[1]):
        if budget >= dense_ms:
            continue
        model, pair = _fitted(subject, menu, prices, uniform[candidate], dense_ms - budget, rounds)
        chosen = subject.loss(model)
        rows.append(
            {
                "axis": subject.name, "pattern": str(candidate), "dense_ms": round(dense_ms, 2),
                "uniform_ms": round(pair[0], 2), "searched_ms": round(pair[1], 2),
                "uniform_loss": subject.loss(_uniform(subject, sites, candidate)), "searched_loss": chosen,
            }
        )  # fmt: skip
    return rows


def _fitted(
    subject: Subject, menu: Menu, prices: Mapping[str, HeadPrices], uniform: object, saved: float, rounds: int
) -> tuple[nn.Module, list[float]]:
    """Return the model of least predicted loss that takes no longer than ``uniform``, and both times."""
    price = menu.dense_ms - saved
    for left in reversed(range(rounds)):
        model = _best(subject, menu, prices, max(price, menu.least_ms))
        pair = _in_turns(subject.example, [uniform, _compiled(subject, model)])
        if pair[1] <= SAME * pair[0] or not left:
            break
        price -= pair[1] - pair[0]
    return model, pair


def _best(subject: Subject, menu: Menu, prices: Mapping[str, HeadPrices], price: float) -> nn.Module:
    """Return the best of a few allocations of one price on validation inputs, as the trials of a search do."""
    groups, found = {GROUP: tuple(menu.layers)}, []
    for tilt in TILTS:
        factors = Choices(tilt={GROUP: tilt}).factors(groups)
        model = _made(subject, menu.allocate(price, factors), prices)
        found.append((subject.trial(model), len(found), model))
    return min(found, key=lambda item: item[:2])[2]


def _prices(
    subject: Subject, sites: Mapping[str, AttentionSite], dense_ms: float, of: Mapping[HeadPattern, float]
) -> dict[str, HeadPrices]:
    """What a head takes with each candidate, from models that have it at every head."""
    heads = sum(site.heads for site in sites.values())
    each = dense_ms / heads
    found = {}
    for name, site in sites.items():
        kept = tuple(c.program(site.queries, site.keys).kept(site.queries, site.keys) for c in of)
        ms = tuple(each - (dense_ms - measured) / heads for measured in of.values())
        found[name] = HeadPrices(GROUP, site.heads, each, ms, kept)
    return found


def _made(subject: Subject, allocation: Allocation, prices: Mapping[str, HeadPrices]) -> nn.Module:
    return with_patterns(copy.deepcopy(subject.dense), allocation, prices, {GROUP: subject.candidates})


def _uniform(subject: Subject, sites: Mapping[str, AttentionSite], candidate: HeadPattern) -> nn.Module:
    patterns = {name: [candidate] * site.heads for name, site in sites.items()}
    return assign_patterns(copy.deepcopy(subject.dense), patterns)


def _compiled(subject: Subject, model: nn.Module) -> Callable[..., object]:
    return l0.compile(model, subject.example)


def _in_turns(
    example: tuple[Tensor, ...], models: Sequence[Callable[..., object]], turns: int = 9
) -> list[float]:
    """Median milliseconds of each model, called in turns."""
    times: list[list[float]] = [[] for _ in models]
    for turn in range(turns + 1):
        for model, seen in zip(models, times, strict=True):
            start = time.perf_counter()
            model(*example)
            if turn:
                seen.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(seen) for seen in times]


if __name__ == "__main__":
    with torch.no_grad():
        main()
