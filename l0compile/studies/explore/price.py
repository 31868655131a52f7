"""The price of trials: what the layers of a model that meets the budget take."""

from dataclasses import replace
from math import log

from l0compile.studies.context import SearchContext, SearchState, remember

# The first allocation has to leave room for the winner by this share of the time between set-up and the final table.
FIRST_UNTIL = 0.2
# Models compiled to learn the price, and how close to the budget they have to be: the line through one tells the rest.
_ROUNDS, _BAND = 4, (0.88, 1.06)


def choose_price(context: SearchContext, state: SearchState) -> SearchState:
    """Choose the price of all trials, once for a study, so that those of an earlier run compare."""
    price = state.kept.price_ms or _first_price(context, state.wanted)
    return remember(context, state, replace(state.kept, price_ms=price))


def _first_price(context: SearchContext, wanted: float) -> float:
    """Learn the price from an allocation that meets the budget: trials should compare such allocations."""
    how = "predicted" if context.bench.predicts else "compiled and measured"
    context.progress.phase(f"a first allocation, {how} until it meets the budget")
    fitter, wanted_ms = context.fitter, wanted * context.budget.ms
    until = context.clock.until(FIRST_UNTIL)
    fitted = fitter.fit(context.study.neutral(), wanted_ms, _ROUNDS, band=_BAND, until=until)
    context.progress.note(f"  {fitted.latency}, {fitted.load / wanted:.3f} of the budget")
    if _BAND[0] <= fitted.load / wanted <= _BAND[1]:
        return fitter.price(wanted_ms, [fitter.point(fitted)])
    # The latency jumps past the budget: trials compare allocations nearest to the jump.
    known = fitter.measured.values()
    return min(known, key=lambda other: abs(log(other.load / wanted))).allocation.ms
