"""Successive halving: of the finalists the better half is trained on, for twice as long, until the best is known.

What a plan is worth shows only after training, and most plans can be ruled out early (Jamieson and Talwalkar, AISTATS
2016).
"""

import time

from l0compile.studies.explore import FINALISTS_UNTIL, Exploration


def halve(exploration: Exploration) -> None:
    """Rounds of training while more than two finalists that meet the budget are left, and time.

    A search that goes on repeats no round: who went on follows from the qualities that are kept.
    """
    wanted, slowest = exploration.wanted, 0.0
    quick = [item for item in exploration.finalists if item.wanted == wanted and item.fast_enough]
    field = list({item.fitted.structure: item for item in reversed(quick)}.values())  # the first of each
    number = 1
    while len(field) > 2:
        ranked = sorted(field, key=lambda item: item.qualities[number - 1], reverse=True)
        field, out = ranked[: (len(ranked) + 1) // 2], ranked[(len(ranked) + 1) // 2 :]
        begun, number = time.monotonic(), number + 1
        if begun + 2 * slowest * len(field) > exploration.clock.at(FINALISTS_UNTIL):
            return
        exploration.progress.note(f"  round {number}: {len(field)} finalists are trained on")
        for item in out:
            exploration.brief.forget(item.fitted)
        field = [item if len(item.qualities) >= number else exploration.train_on(item) for item in field]
        slowest = (time.monotonic() - begun) / len(field)
