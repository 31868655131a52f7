"""What a linear kernel on rows computes."""

from dataclasses import dataclass

from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.token_tile import Tail


@dataclass(frozen=True)
class RowsLinearSpec:
    """A linear layer whose tokens, or results, or both, lie in rows.

    Attributes:
        layer: what is computed, in float32.
        rows_in: tokens come in rows; each thread packs those of its tiles.
        rows_out: results go to rows.
    """

    layer: LinearSpec
    rows_in: bool
    rows_out: bool

    @property
    def tail(self) -> Tail:
        """Tokens of the last tile."""
        return self.layer.tail
