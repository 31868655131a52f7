"""Claim: patterns chosen head by head beat one pattern for all heads, at every budget of time.

    python benchmarks/pattern_search.py [--models bytes minilm] [--rounds 3]
    python benchmarks/pattern_search.py --untimed    # budgets are keys listed instead of time; nothing is compiled

Two models: MiniLM over 512 tokens of IMDB reviews, and a causal language model over bytes (2,048 tokens) that is
trained on Python's standard library here. No weight is changed. For each candidate the model with this pattern at every
head is compiled and measured: its time is the budget, and prices of heads follow from it; candidates that list as many
keys have one price. ``l0compile.studies.fit.joint_heads`` then chooses a pattern for each head by real losses on
calibration inputs, as a search does, from one pattern for all heads on. The chosen models are compiled and measured in
turns with the uniform ones; what is slower is chosen anew at a lower price. ``loss``: on held-out inputs; bytes: nats a
byte above the dense model's; MiniLM: 1 - cosine with the dense model's embedding. ``same``: the choice is one pattern
for all heads. ``seconds``, ``evaluations``: of choosing, those that all budgets share and those of each. Wanted: less
loss at every budget. Appends to ``benchmarks/results/pattern_search.jsonl`` and draws ``pattern_search.png``.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from harness import pattern_models, plots, record
from torch import Tensor, nn

import l0compile as l0
from l0compile.attention.assignment.assign import HeadPattern, assign_patterns
from l0compile.attention.assignment.calls import AttentionSite, attention_sites
from l0compile.attention.assignment.joint import JointLosses
from l0compile.studies.fit.heads import HeadPrices
from l0compile.studies.fit.joint_heads import JointHeads

Compiled = Callable[..., object]
GROUP = "attention"
# A model may take this much longer than its budget: medians of one model differ by as much.
SAME = 1.01


@dataclass(frozen=True)
class Subject:
    """A model with its candidates and what it is measured on."""

    name: str
    dense: nn.Module
    example: tuple[Tensor, ...]
    candidates: tuple[HeadPattern, ...]
    calibration: Sequence[Tensor]
    predict: Callable[[nn.Module, object], Tensor]
    loss: Callable[[nn.Module], float]


def main() -> None:
    """Append a row for each budget of each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", choices=list(pattern_models.MODELS), default=list(pattern_models.MODELS)
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--untimed", action="store_true")
    options = parser.parse_args()
    for name in options.models:
        subject = Subject(name, *pattern_models.MODELS[name]())
        for row in untimed(subject) if options.untimed else compare(subject, options.rounds):
            record.append("pattern_search", row)
    (record.RESULTS / "pattern_search.png").write_bytes(plots.draw_pattern_search(_latest()))


def _latest() -> list[dict[str, object]]:
    """The timed rows on record, the last of each model and pattern."""
    lines = (record.RESULTS / "pattern_search.jsonl").read_text(encoding="utf-8").splitlines()
    timed = [row for row in map(json.loads, lines) if "searched_ms" in row]
    return list({(row["axis"], row["pattern"]): row for row in timed}.values())


def compare(subject: Subject, rounds: int) -> Iterator[dict[str, object]]:
    """Yield a row for each candidate that takes less time than the dense model."""
    start = _started(subject)
    aims = {candidate: SAME * price for candidate, price in start.budgets.items()}
    for left in reversed(range(rounds)):
        found, seconds, evaluations = {}, start.joint.seconds, start.joint.losses.evaluations
        for candidate, aim in aims.items():
            found[candidate] = start.joint.improved([], max(aim, min(start.budgets.values())))
        cost = start.joint.seconds - seconds, start.joint.losses.evaluations - evaluations
        models = {
            c: assign_patterns(copy.deepcopy(subject.dense), start.joint.patterns(n))
            for c, n in found.items()
        }
        compiled = [_compiled(subject, model) for model in models.values()]
        ms = _in_turns(subject.example, [*(start.uniform[c] for c in models), *compiled])
        for candidate, uniform_ms, searched_ms in zip(models, ms, ms[len(models) :], strict=False):
            if searched_ms > SAME * uniform_ms and left:
                aims[candidate] -= min(searched_ms - uniform_ms, 0.02 * aims[candidate])
                continue
            del aims[candidate]
            yield {
                "axis": subject.name, "pattern": str(candidate), "dense_ms": round(start.dense_ms, 2),
                "uniform_ms": round(uniform_ms, 2), "searched_ms": round(searched_ms, 2),
                "uniform_loss": subject.loss(_uniform(subject, start.sites, candidate)),
                "searched_loss": subject.loss(models[candidate]), "same": len(set(found[candidate])) == 1,
                "seconds_each": round(cost[0] / len(models), 1), "evaluations_each": round(cost[1] / len(models), 1),
                "seconds_before": round(start.seconds), "evaluations_before": start.evaluations,
            }  # fmt: skip


def untimed(subject: Subject) -> Iterator[dict[str, object]]:
    """Yield a row for each share of the keys that a candidate lists: the best one for all heads, and what is chosen."""
    sites = attention_sites(subject.dense, subject.example)
    prices = _prices(subject, sites, 1.0, None)
    joint = JointHeads(
        prices, {GROUP: subject.candidates}, JointLosses(subject.dense, subject.calibration, subject.predict),
        twice=False,
    )  # fmt: skip
    shares, heads = next(iter(prices.values())).kept, sum(site.heads for site in sites.values())
    for share in sorted(set(shares)):
        alike = {n: (n + 1,) * heads for n, other in enumerate(shares) if other <= share}
        best = min(alike, key=lambda n: joint.loss(alike[n]))
        choice = joint.improved([], share)
        model = assign_patterns(copy.deepcopy(subject.dense), joint.patterns(choice))
        same = choice == alike[best]
        held_out = subject.loss(_uniform(subject, sites, subject.candidates[best]))
        yield {
            "axis": f"{subject.name}, untimed", "kept": round(share, 5), "pattern": str(subject.candidates[best]),
            "uniform_loss": held_out, "searched_kept": round(joint.ms(choice), 5),
            "searched_loss": held_out if same else subject.loss(model), "same": same,
            "calibration_losses": [joint.loss(alike[best]), joint.loss(choice)],
            "evaluations": joint.losses.evaluations, "seconds": round(joint.seconds, 1),
        }  # fmt: skip


@dataclass(frozen=True)
class _Start:
    """What all budgets of a model share. seconds, evaluations: of the first choice, whose findings others use."""

    sites: Mapping[str, AttentionSite]
    uniform: Mapping[HeadPattern, Compiled]
    dense_ms: float
    budgets: Mapping[HeadPattern, float]
    joint: JointHeads
    seconds: float
    evaluations: int


def _started(subject: Subject) -> _Start:
    """Compile and time one pattern for all, and evaluate what every budget needs."""
    sites = attention_sites(subject.dense, subject.example)
    whole = _compiled(subject, subject.dense)
    uniform = {c: _compiled(subject, _uniform(subject, sites, c)) for c in subject.candidates}
    ms = _in_turns(subject.example, [whole, *uniform.values()])
    dense_ms, of = ms[0], dict(zip(subject.candidates, ms[1:], strict=True))
    prices = _prices(subject, sites, dense_ms, of)
    budgets = {
        candidate: sum(price.heads * price.ms[number] for price in prices.values())
        for number, candidate in enumerate(subject.candidates)
        if of[candidate] < dense_ms
    }
    losses = JointLosses(subject.dense, subject.calibration, subject.predict)
    joint = JointHeads(prices, {GROUP: subject.candidates}, losses, twice=False)
    joint.improved([], max(budgets.values()))
    return _Start(sites, uniform, dense_ms, budgets, joint, joint.seconds, losses.evaluations)


def _prices(
    subject: Subject,
    sites: Mapping[str, AttentionSite],
    dense_ms: float,
    of: Mapping[HeadPattern, float] | None,
) -> dict[str, HeadPrices]:
    """What a head takes with each candidate: a part of models that have it at every head; without, the keys listed."""
    heads = sum(site.heads for site in sites.values())
    found = {}
    for name, site in sites.items():
        kept = tuple(
            c.program(site.queries, site.keys).kept(site.queries, site.keys) for c in subject.candidates
        )
        measured = kept if of is None else tuple(of.values())
        alike = {k: [ms for other, ms in zip(kept, measured, strict=True) if other == k] for k in kept}
        ms = tuple(statistics.mean(alike[k]) / heads for k in kept)
        found[name] = HeadPrices(GROUP, site.heads, dense_ms / heads, ms, kept)
    return found


def _uniform(subject: Subject, sites: Mapping[str, AttentionSite], candidate: HeadPattern) -> nn.Module:
    patterns = {name: [candidate] * site.heads for name, site in sites.items()}
    return assign_patterns(copy.deepcopy(subject.dense), patterns)


def _compiled(subject: Subject, model: nn.Module) -> Compiled:
    return l0.compile(model, subject.example)


def _in_turns(example: tuple[Tensor, ...], models: Sequence[Compiled], turns: int = 9) -> list[float]:
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
