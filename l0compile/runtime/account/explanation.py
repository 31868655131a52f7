"""What was done to a model and why, as data that prints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from l0compile.ir.codec import decode, encode
from l0compile.ir.records import EngineChoice, HeadRecord, Launch, PassRecord, Region, StageRecord
from l0compile.runtime.account.bound import Account, account
from l0compile.runtime.account.predicted import PredictedTime
from l0compile.runtime.account.profile import Profile
from l0compile.runtime.account.text import (
    TextLine,
    checked,
    head_lines,
    island_lines,
    ordinary_lines,
    part_lines,
    region_lines,
    wrapped,
)
from l0compile.runtime.account.two_of_four import TwoOfFour, two_of_four_lines

_SIZES = 8  # conditions on sizes that are listed before "and more"


@dataclass(frozen=True)
class Explanation:
    """What became of a model.

    Attributes:
        regions: fate of each layer, in the order of the model; see :class:`l0compile.ir.records.Region`.
        passes: what ran, with the number of changes and seconds.
        verification: ``checked`` and, if so, ``max_difference`` relative to the largest reference value,
            ``tolerance`` and ``inputs`` (number of example inputs compared); ``rounding`` where roundings to integers
            set the tolerance.
        ordinary: operators that run outside our kernels, with counts.
        stages: what each engine runs, in order.
        choice: which engine runs the whole, and the times that decided it.
        launches: the kernel calls of one run, in order.
        sizes: what must hold of the dynamic sizes of a call, one sentence each.
        plain: functions of ordinary operators that no schedule rule could change: their loops run as written.
        stored: name of a weight that the model stores sparse -> the format; it was made dense, with its zeros.
        state: buffers that calls change, one line each.
        profile: times of one call, if measured; ``account`` joins them with the regions.
        dense_profile: the same of the dense model.
        predicted: on a GPU, what a call is predicted to take at the sizes of the example inputs.
        two_of_four: layers whose zeros fit, or nearly fit, a format that its tensor cores have and no kernel here uses.
        heads: what each head of an attention with patterns reads, and loses by that.
    """

    regions: tuple[Region, ...]
    passes: tuple[PassRecord, ...]
    verification: Mapping[str, Any]
    ordinary: Mapping[str, int]
    stages: tuple[StageRecord, ...] = ()
    choice: EngineChoice | None = None
    launches: tuple[Launch, ...] = ()
    sizes: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    stored: Mapping[str, str] = field(default_factory=dict)
    state: tuple[str, ...] = ()
    profile: Profile | None = None
    dense_profile: Profile | None = None
    predicted: PredictedTime | None = None
    two_of_four: tuple[TwoOfFour, ...] = ()
    heads: tuple[HeadRecord, ...] = ()

    @property
    def islands(self) -> tuple[StageRecord, ...]:
        """The stages that run in PyTorch."""
        return tuple(stage for stage in self.stages if stage.engine == "torch")

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name, as JSON values."""
        found: dict[str, Any] = encode(self)
        return found

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Explanation":
        """Return the explanation that ``to_json`` wrote.

        Raises:
            StorageError: it is malformed, or of another version.
        """
        return decode(record, cls, "explanation", advice="compile the model again")

    @property
    def account(self) -> Account | None:
        """Where the time goes and what bounds it; None if nothing was measured."""
        return None if self.profile is None else account(self.regions, self.profile, self.dense_profile)

    def lines(self, width: int) -> list[TextLine]:
        """Return lines of at most ``width``: bound, regions, ordinary operators, islands, engine, sizes, checks."""
        found = self.account
        lines: list[TextLine] = []
        if self.predicted is not None:
            lines += self.predicted.lines(width)
        if found is not None:
            lines += [*wrapped(found.sentence, width), TextLine(""), *part_lines(found), TextLine("")]
        lines += region_lines(self.regions, found, width)
        lines += two_of_four_lines(self.two_of_four, width)
        if self.heads:
            lines += [TextLine(""), *head_lines(self.heads, found, width)]
        if found is not None and found.ordinary:
            lines += [TextLine(""), *ordinary_lines(found, self.plain, width)]
        elif self.ordinary:
            counts = ", ".join(f"{name} ({count})" for name, count in self.ordinary.items())
            lines += [TextLine(""), *wrapped(f"ordinary operators: {counts}", width)]
        lines += [
            line
            for number, stage in enumerate(self.islands)
            for line in island_lines(number, stage, found, width)
        ]
        if self.choice is not None:
            lines += wrapped(f"engine: {self.choice.engine}: {self.choice.reason}", width)
        if self.stored:
            weights = ", ".join(f"{name} ({form})" for name, form in self.stored.items())
            lines += wrapped(f"stored sparse in the model, and made dense with its zeros: {weights}", width)
        if self.sizes:
            told = self.sizes[:_SIZES]
            more = len(self.sizes) - len(told)
            rest = f"; and {more} more conditions, each checked at a call" if more else ""
            lines += wrapped(f"sizes: {'; '.join(told)}{rest}", width)
        if self.state:
            lines.append(TextLine("state, changed by each call of one sequence:", "title"))
            lines += [line for item in self.state for line in wrapped(item, width, "    ")]
        return [*lines, *wrapped(checked(self.verification), width)]

    def __str__(self) -> str:
        return "\n".join(line.text for line in self.lines(100))
