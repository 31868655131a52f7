"""One batch of random graphs: what came of them, and the smallest graph that failed, if one did."""

import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.check import Level, check
from tests.fuzz.recipe import Recipe
from tests.fuzz.strategy import recipes


@dataclass
class Outcome:
    """What came of one batch.

    compared: graphs whose answers agreed. skipped: why others were not compared, and how many of each.
    failure: the error and the recipe of the smallest failing graph, or None.
    """

    compared: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failure: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"compared": self.compared, "skipped": dict(self.skipped), "failure": self.failure}


def run_batch(number: int, examples: int, level: Level, variants: int, *, shrink: bool = True) -> Outcome:
    """Draw and check ``examples`` graphs from seed ``number``; a failing one is shrunk, if asked, and ends it all."""
    outcome = Outcome()

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(recipes())
    def attempt(recipe: Recipe) -> None:
        for result in check(recipe, level, variants):
            if result is None:
                outcome.compared += 1
            else:
                outcome.skipped[result.reason] += 1

    try:
        attempt()
    except Exception as error:  # whatever the compiler raises is what this looks for
        outcome.failure = describe(error)
    return outcome


def describe(error: BaseException) -> str:
    """Type, message, the last places in the package, and the recipes noted on the error (those of a group, all)."""
    if isinstance(error, BaseExceptionGroup):
        return "\n\n".join(describe(inner) for inner in error.exceptions)
    frames = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    where = [frame for frame in frames if "/l0compile/" in frame][-3:]
    notes = [note for note in getattr(error, "__notes__", []) if "level: Recipe" in note]
    return "\n".join([f"{type(error).__name__}: {error}", *where, *notes])
