"""What the knapsack chooses among: options of units, and units whose options depend on each other."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What one unit (a layer, or the heads that it reads) can be: ``loss[i]`` for ``ms[i]`` milliseconds."""

    loss: tuple[float, ...]
    ms: tuple[float, ...]


@dataclass(frozen=True)
class Bundle:
    """Units whose options depend on something chosen for all of them: projections on how many heads are left.

    cases: for each such choice the options of every unit.
    """

    cases: tuple[tuple[Options, ...], ...]

    @classmethod
    def single(cls, unit: Options) -> "Bundle":
        """A unit by itself."""
        return cls(((unit,),))

    @property
    def least_ms(self) -> float:
        """Of the quickest choice."""
        return min(sum(min(unit.ms) for unit in units) for units in self.cases)

    def sums(self, choice: "Choice") -> tuple[float, float]:
        """Loss and time of a choice."""
        pairs = list(zip(self.cases[choice.case], choice.options, strict=True))
        return sum(unit.loss[index] for unit, index in pairs), sum(unit.ms[index] for unit, index in pairs)


@dataclass(frozen=True)
class Choice:
    """Of a bundle: the case, and for each unit the index of its option."""

    case: int
    options: tuple[int, ...]


# By case and unit of a bundle, the indices of options that may be in the best choice.
Kept = list[list[list[int]]]
