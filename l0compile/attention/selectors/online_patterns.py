"""One of several patterns for each head, chosen while the model runs: Sparse VideoGen."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from l0compile.attention.patterns.pattern import Pattern
from l0compile.attention.selectors.selector import Selector
from l0compile.errors import InputError
from l0compile.ir.ops.attention.block import program_of
from l0compile.ir.ops.attention.row_program import RowProgram


class OnlinePatterns(Selector):
    """Gives each head the pattern that keeps most of its attention (Xi et al. 2025, Sparse VideoGen, arXiv:2502.01776).

    The attention of some queries is computed whole. The paper compares the errors of their results; this compares how
    much of their attention each pattern keeps, which needs no values.

    Args:
        patterns: What to choose from, for instance a spatial and a temporal head.
        tokens: Length of the sequence.
        heads: Number of query heads.
        num_sampled_rows: Queries that are looked at, evenly spread; at random in the paper.
        block_size: Queries and keys of a block.
    """

    def __init__(
        self,
        patterns: Sequence[Pattern],
        tokens: int,
        heads: int,
        num_sampled_rows: int = 64,
        block_size: int = 64,
    ) -> None:
        super().__init__()
        self.block_size, self.tokens = block_size, tokens
        rows = torch.linspace(0, tokens - 1, min(num_sampled_rows, tokens)).long()
        masks = [pattern.mask(tokens, heads=heads)[0][:, rows].expand(heads, -1, -1) for pattern in patterns]
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("masks", torch.stack(masks), persistent=False)
        programs = [p.program(tokens, heads=heads, q_block=block_size, k_block=block_size) for p in patterns]
        for place, operand in enumerate(_together(programs, heads)):
            self.register_buffer(f"operand_{place}", operand, persistent=False)

    def choose(self, q: Tensor, k: Tensor) -> RowProgram:
        if q.shape[2] != self.tokens or k.shape[2] != self.tokens:
            raise InputError(
                f"OnlinePatterns: expected {self.tokens} queries and keys, got {q.shape[2]} and {k.shape[2]}"
            )
        best = self.kept(q, k).argmax(0)
        head = torch.arange(q.shape[1], device=q.device)
        operands = [self.get_buffer(f"operand_{i}") if self._has(i) else None for i in range(8)]
        chosen = [
            t if t is None or place == 5 else t[best, head.expand_as(best)]
            for place, t in enumerate(operands)
        ]
        return program_of(tuple(chosen), self.block_size, self.block_size)

    def kept(self, q: Tensor, k: Tensor) -> Tensor:
        """Return [patterns, B, h], how much of the attention of the sampled queries each pattern keeps."""
        rows, masks = self.get_buffer("rows"), self.get_buffer("masks")
        shares = (q[:, :, rows] @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        return torch.stack([(shares * mask).sum((-1, -2)) for mask in masks.unbind()])

    def _has(self, place: int) -> bool:
        return getattr(self, f"operand_{place}") is not None


def _together(programs: Sequence[RowProgram], heads: int) -> list[Tensor | None]:
    """The operands of several programs, each [programs, heads, ...], and all their patterns in one table."""
    found: list[Tensor | None] = []
    offsets = _offsets(programs)
    for place in range(8):
        parts = [program.operands()[place] for program in programs]
        if place == 4:
            parts = [t if t is None else t + offset for t, offset in zip(parts, offsets, strict=True)]
        given = [t for t in parts if t is not None]
        if not given or place == 5:
            found.append(torch.cat(given) if given else None)
            continue
        sample = given[0][0, 0]
        width = max(t.shape[-1] for t in given)
        # A program without such a list has an empty one.
        parts = [torch.zeros_like(sample)[None, None] if t is None else t for t in parts]
        wide = [t if sample.ndim == 1 else pad(t, (0, width - t.shape[-1])) for t in parts if t is not None]
        found.append(torch.stack([t[0].expand(heads, *t.shape[2:]) for t in wide]))
    return found


def _offsets(programs: Sequence[RowProgram]) -> list[int]:
    sizes = [0 if program.patterns is None else len(program.patterns) for program in programs]
    return [sum(sizes[:place]) for place in range(len(sizes))]
