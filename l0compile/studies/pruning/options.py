"""What the knapsack chooses among: the options of layers, in groups whose options depend on each other."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What one layer (or the heads that it reads) can be: option ``i`` costs ``loss[i]`` and ``ms[i]`` milliseconds."""

    loss: tuple[float, ...]
    ms: tuple[float, ...]


@dataclass(frozen=True)
class ChoiceGroup:
    """Layers whose options depend on one shared choice, as projections depend on how many heads are left.

    cases: for each value of the shared choice, the options of every layer of the group.
    """

    cases: tuple[tuple[Options, ...], ...]

    @classmethod
    def single(cls, options: Options) -> "ChoiceGroup":
        """A group of one layer that depends on nothing."""
        return cls(((options,),))

    @property
    def least_ms(self) -> float:
        """The time of the fastest choice."""
        return min(sum(min(layer.ms) for layer in layers) for layers in self.cases)

    def sums(self, choice: "GroupChoice") -> tuple[float, float]:
        """The loss and the time of a choice."""
        pairs = list(zip(self.cases[choice.case], choice.options, strict=True))
        return sum(layer.loss[index] for layer, index in pairs), sum(
            layer.ms[index] for layer, index in pairs
        )


@dataclass(frozen=True)
class GroupChoice:
    """A choice for one group: the case, and the index of each layer's option in it."""

    case: int
    options: tuple[int, ...]


# For each case and layer of a group, the indices of the options that may still be in the best choice.
KeptOptions = list[list[list[int]]]
