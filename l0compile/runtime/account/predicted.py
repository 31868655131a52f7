"""What a model is predicted to take on a GPU: data that says at each number that nobody has measured it."""

from collections.abc import Iterator
from dataclasses import dataclass

from l0compile.runtime.account.text import TextLine, wrapped

_LONGEST = 8  # parts that are listed


@dataclass(frozen=True)
class PredictedPart:
    """One kernel of a model, or several alike.

    Attributes:
        name: of its region, or what ordinary operators it stands for.
        ms: predicted milliseconds of all its calls.
        bound: what it waits for most.
        calls: how many kernels it is.
    """

    name: str
    ms: float
    bound: str
    calls: int = 1


@dataclass(frozen=True)
class PredictedTime:
    """The predicted time of one call of a model at the sizes of its example inputs.

    Attributes:
        card: the graphics card.
        low_ms, mid_ms, high_ms: the time, and between what the true one should lie.
        parts: the longest first.
    """

    card: str
    low_ms: float
    mid_ms: float
    high_ms: float
    parts: tuple[PredictedPart, ...]

    def __str__(self) -> str:
        return f"predicted {self.mid_ms:.3g} ms [{self.low_ms:.3g}, {self.high_ms:.3g}] on {self.card}"

    def lines(self, width: int) -> Iterator[TextLine]:
        """The prediction in lines of at most ``width``, with the parts that take longest."""
        calls = sum(part.calls for part in self.parts)
        yield from wrapped(f"{self}; {calls} kernels; nothing was measured", width)
        yield TextLine(f"{'part of the model':<44}  predicted ms  waits for", "title")
        for part in self.parts[:_LONGEST]:
            yield TextLine(f"{part.name[:44]:<44}  {part.ms:>12.4f}  {part.bound}")
        rest = self.parts[_LONGEST:]
        if rest:
            yield TextLine(f"{f'{len(rest)} more':<44}  {sum(part.ms for part in rest):>12.4f}")
        yield TextLine("")
