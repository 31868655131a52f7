"""Models with ``l0compile::block_attention``, compiled: the numbers of its reference, without islands."""

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import l0compile as l0
from l0compile.ir.ops.attention.block import block_attention
from l0compile.ir.ops.attention.row_program import RowLists, RowProgram

HEADS, KV, DIM = 4, 2, 16


class Listed(nn.Module):
    """Projections around attention to the keys of one program, a constant of the model."""

    def __init__(
        self, program: RowProgram, bias: Tensor | None = None, cap: float = 0.0, logs: bool = False
    ) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(32, n * DIM) for n in (HEADS, KV, KV))
        self.out = nn.Linear(HEADS * DIM, 32)
        self.count = 0
        for tensor in program.operands():
            self.register_buffer(f"list_{self.count}", tensor)
            self.count += 1
        self.register_buffer("bias", bias)
        self.sizes = (HEADS, program.q_block, program.k_block, DIM**-0.5, cap, logs)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        lists = [getattr(self, f"list_{i}") for i in range(self.count)]
        y = block_attention(self.q(x), self.k(x), self.v(x), *lists, mask, self.bias, *self.sizes)
        width = HEADS * DIM
        return (self.out(y[..., :width]), y[..., width:]) if self.sizes[-1] else self.out(y)


def program(tokens: int, q_block: int, k_block: int, columns: bool) -> RowProgram:
    """Blocks of three kinds, other ones for each head; columns among the keys of the last block."""
    rows, blocks = -(-tokens // q_block), -(-tokens // k_block)
    live = torch.rand(1, HEADS, rows, blocks) < 0.6
    live[..., -1] &= not columns
    mask = live.repeat_interleave(q_block, 2).repeat_interleave(k_block, 3)[:, :, :tokens, :tokens]
    made = RowProgram.from_mask(mask & (torch.rand(mask.shape[-1]) < 0.95), q_block, k_block)
    if not columns:
        return made
    first = (blocks - 1) * k_block
    entries = (first + torch.randperm(tokens - first)[:2]).to(torch.int32).expand(1, 1, rows, 2)
    lists = RowLists(torch.randint(0, 3, (1, 1, rows)).to(torch.int32), entries.contiguous())
    return RowProgram(q_block, k_block, made.full, made.partial, made.pattern_numbers, made.patterns, lists)


@pytest.mark.parametrize(
    ("sizes", "cap", "logs"), [((64, 16, 16), 0.0, False), ((70, 24, 20), 3.0, True)], ids=str
)
@pytest.mark.parametrize("columns", [False, True])
def test_a_model_with_lists_compiles_without_islands(
    sizes: tuple[int, int, int], cap: float, logs: bool, columns: bool
) -> None:
    torch.manual_seed(0)
    tokens = sizes[0]
    bias = torch.randn(HEADS, 2 * tokens - 1) if logs else None
    model = Listed(program(*sizes, columns), bias, cap, logs).eval()
    x, mask = torch.randn(2, tokens, 32), torch.rand(2, 1, 1, tokens) < 0.8
    found = l0.compile(model, (x, mask))
    assert not found.explain().islands
    torch.testing.assert_close(found(x, mask), model(x, mask), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("columns", [False, True])
def test_closed_heads_are_cut_with_their_lists(columns: bool) -> None:
    torch.manual_seed(4)
    model = Listed(program(64, 16, 16, columns), torch.randn(HEADS, 127)).eval()
    with torch.no_grad():  # nobody reads the first two heads, which share a key head
        model.out.weight[:, : 2 * DIM] = 0
    x = torch.randn(2, 64, 32)
    found = l0.compile(model, (x,))
    torch.testing.assert_close(found(x), model(x), rtol=2e-5, atol=2e-5)
    (region,) = (region for region in found.explain().regions if region.kind == "attention")
    assert (region.shape_before, region.shape_after) == ((HEADS, DIM), (HEADS - 2, DIM))


class Chosen(nn.Module):
    """Lists are inputs of the model."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, counts: Tensor, blocks: Tensor) -> Tensor:
        nothing = [None] * 8
        return block_attention(q, k, v, counts, blocks, *nothing, HEADS, 16, 16, 0.25)  # type: ignore[no-any-return]


def chosen(batch: int, rows: int, wide: int) -> tuple[Tensor, ...]:
    q, k, v = (torch.randn(batch, 16 * rows, n * DIM) for n in (HEADS, KV, KV))
    counts = torch.randint(0, wide + 1, (batch, HEADS, rows), dtype=torch.int32)
    blocks = torch.rand(batch, HEADS, rows, rows).argsort(-1)[..., :wide].to(torch.int32).contiguous()
    return q, k, v, counts, blocks


def test_lists_that_the_model_chooses_of_any_batch_and_length() -> None:
    torch.manual_seed(1)
    batch, rows = torch.export.Dim("batch", max=64), torch.export.Dim("rows", min=4, max=64)
    tokens = {0: batch, 1: 16 * rows}
    shapes: Any = (tokens, tokens, tokens, {0: batch, 2: rows}, {0: batch, 2: rows})
    model = Chosen().eval()
    found = l0.compile(model, chosen(2, 6, 3), dynamic_shapes=shapes)
    assert not found.explain().islands
    for sizes in ((2, 6), (1, 4), (5, 13)):
        given = chosen(*sizes, 3)
        torch.testing.assert_close(found(*given), model(*given), rtol=2e-5, atol=2e-5)


class Decode(nn.Module):
    """One query, and the keys that it picks by a score that it is given."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, importance: Tensor) -> Tensor:
        columns = importance.topk(24, -1).indices.to(torch.int32).unsqueeze(2)
        counts = torch.full_like(columns[..., 0], 24)
        nothing: list[Any] = [None] * 6
        return block_attention(q, k, v, *nothing, counts, columns, None, None, HEADS, 16, 16, 0.25)  # type: ignore[no-any-return]


def test_columns_that_a_step_of_decoding_picks() -> None:
    torch.manual_seed(2)
    given = (torch.randn(2, 1, HEADS * DIM), torch.randn(2, 300, KV * DIM), torch.randn(2, 300, KV * DIM))
    importance = torch.rand(2, HEADS, 300)
    found = l0.compile(Decode().eval(), (*given, importance))
    torch.testing.assert_close(found(*given, importance), Decode()(*given, importance), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same(threads: int) -> None:
    code = """
        import json
        import torch
        import l0compile
        from tests.compiler.test_listed_keys import Listed, program
        torch.manual_seed(3)
        model, x = Listed(program(250, 32, 16, True)).eval(), torch.randn(1, 250, 32)
        wanted = model(x)
        found = l0compile.compile(model, (x,), verify=False)(x)
        print(json.dumps(float((found - wanted).abs().max())))
    """
    environment = {**os.environ, "TVM_NUM_THREADS": str(threads)}
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert json.loads(ran.stdout) < 2e-5
