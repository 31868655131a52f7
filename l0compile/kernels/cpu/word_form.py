"""The words of narrow numbers that a kernel writes instead of float32 results, for the kernel that reads them."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import fx

from l0compile.kernels.cpu.dot import WORD, word
from l0compile.kernels.cpu.lanes import Expr, broadcast, kept, picked, ramp
from l0compile.kernels.cpu.pair import PAIR, pair_word
from l0compile.kernels.tir import TB


@dataclass(frozen=True)
class WordForm:
    """How float32 numbers are written as words of 32 bits.

    Attributes:
        numbers: four 8-bit integers in a word, or two bfloat16 numbers.
        zero_point: of integers.
        by_tokens: a word holds two tokens of one feature, instead of features of one token; of bfloat16.
    """

    numbers: Literal["int8", "bfloat16"]
    zero_point: int = 0
    by_tokens: bool = False

    @property
    def name(self) -> str:
        """The word for it in ``KernelWorkload.variant``."""
        return "narrow" if self.numbers == "int8" else "token_pairs" if self.by_tokens else "pairs"

    @property
    def features(self) -> int:
        """Features of a word."""
        return 1 if self.by_tokens else WORD if self.numbers == "int8" else PAIR

    @property
    def tokens(self) -> int:
        """Tokens of a word."""
        return PAIR if self.by_tokens else 1

    def extents(self, features: int, lanes: int) -> tuple[int, int]:
        """Words of a tile of packed tokens, along features and along tokens."""
        return -(-features // self.features), lanes // self.tokens

    def lanes(self, start: Expr, width: int) -> Expr:
        """The places of the words of ``width`` tokens from ``start`` on."""
        return ramp(start // self.tokens, width // self.tokens)

    def words(self, values: list[Expr], inverses: list[Expr], width: int) -> Expr:
        """A vector of words.

        Args:
            values: ``features`` vectors of ``width`` float32 numbers; fewer for the last word, which zeros fill.
            inverses: 1 / scale of each of these features; of 8-bit integers.
            width: tokens.
        """
        if self.numbers == "int8":
            return word(values, inverses, self.zero_point, width)
        # Each is read several times below, and is a long expression.
        own = [kept(value, width) for value in values]
        if self.by_tokens:
            low, high = (picked(own[0], range(odd, width, PAIR)) for odd in range(PAIR))
            return pair_word(low, high, width // PAIR)
        return pair_word(own[0], own[1] if len(own) > 1 else broadcast(TB.float32(0), width), width)


_FORMS = (WordForm("int8"), WordForm("bfloat16"), WordForm("bfloat16", by_tokens=True))
FORMS = {form.name: form for form in _FORMS}
"""By name; what zero point integers have does not change the time."""


def word_form(inverse: fx.Node | None, zero_point: int, pairs: str) -> WordForm | None:
    """The form that operators of packed tokens name by these arguments, see ``l0compile.ir.ops.results``."""
    if inverse is not None:
        return WordForm("int8", zero_point)
    return WordForm("bfloat16", by_tokens=pairs == "tokens") if pairs else None


def inverses_of(inverse: Any, first: Expr, count: int) -> list[Expr]:
    """1 / scale of ``count`` features from ``first`` on; empty for bfloat16."""
    return [] if inverse is None else [inverse[first + feature] for feature in range(count)]
