"""``explain`` as one HTML page: the bound, where the time goes, and each layer before and after."""

from l0compile.report.pages.page import render
from l0compile.runtime.account import Explanation
from l0compile.runtime.account.text import checked

_PART_COLOURS = {
    "weights": "#1d4ed8",
    "attention": "#7c3aed",
    "other kernels": "#0f766e",
    "ordinary operators": "#a16207",
    "islands": "#b91c1c",
    "between kernels": "#9aa5b1",
}


def render_explanation(explanation: Explanation, title: str) -> str:
    """Return the whole page. Nothing is fetched; the one script sorts tables."""
    found, choice = explanation.account, explanation.choice
    times = {item.name: item for item in found.regions} if found else {}
    facts = [("check", checked(explanation.verification)), *(("size", rule) for rule in explanation.sizes)]
    facts += [("engine", f"{choice.engine}: {choice.reason}")] if choice else []
    return render(
        "explanation.html",
        script="sort.js",
        title=title,
        explanation=explanation,
        account=found,
        colours=_PART_COLOURS,
        times=times,
        longest=max((t.before_ms or t.after_ms or 0.0 for t in times.values()), default=0.0) or 1.0,
        islands={name: ms for name, _, ms in found.islands} if found else {},
        facts=facts,
    )
