"""A pattern for tests: keys near the query."""

from dataclasses import dataclass

import torch

from l0compile.ir.ops.attention.row_program import RowProgram


@dataclass(frozen=True)
class Near:
    before: int
    after: int
    block: int = 16

    def program(self, queries: int, keys: int) -> RowProgram:
        return RowProgram.from_mask(self.mask(queries, keys)[None, None], self.block, self.block)

    def mask(self, queries: int, keys: int) -> torch.Tensor:
        distance = torch.arange(queries).unsqueeze(1) - torch.arange(keys)
        return (distance <= self.before) & (distance >= -self.after)
