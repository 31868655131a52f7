"""A pattern for one length, as constants of a module."""

from torch import nn

from l0compile.attention.patterns.pattern import Pattern
from l0compile.errors import InputError
from l0compile.ir.ops.attention.block import program_of
from l0compile.ir.ops.attention.row_program import RowProgram


class StaticProgram(nn.Module):
    """The lists of a pattern as buffers, which an exported model has as constants. They are not in ``state_dict``.

    Args:
        pattern: Which keys each query sees.
        tokens: Length of the sequence.
        heads: Number of query heads.
        q_block, k_block: Queries and keys of a block.
    """

    def __init__(
        self, pattern: Pattern, tokens: int, heads: int, q_block: int = 64, k_block: int = 64
    ) -> None:
        super().__init__()
        self.tokens, self.q_block, self.k_block = tokens, q_block, k_block
        program = pattern.program(tokens, heads=heads, q_block=q_block, k_block=k_block)
        for place, operand in enumerate(program.operands()):
            self.register_buffer(f"operand_{place}", operand, persistent=False)

    def forward(self, tokens: int) -> RowProgram:
        """Return the program, for a sequence of the length that it was made for."""
        if tokens != self.tokens:
            raise InputError(f"attention pattern: expected {self.tokens} tokens, got {tokens}")
        operands = tuple(getattr(self, f"operand_{place}") for place in range(8))
        return program_of(operands, self.q_block, self.k_block)
