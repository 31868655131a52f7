"""flex_attention in models under torch.compile with our backend."""

import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

STRICT = {"engine": "tvm", "fallback": False}


def window(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return (q - k).abs() < 9


def causal(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return q >= k


def block_mask(mod: Callable[..., Tensor]) -> BlockMask:
    return create_block_mask(mod, None, None, 50, 50, device="cpu", BLOCK_SIZE=16)


class Masked(nn.Module):
    def __init__(self, mask: BlockMask | None) -> None:
        super().__init__()
        self.mask = mask
        self.register_buffer("slopes", torch.tensor([0.5, 0.25]))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        slopes = self.slopes
        return flex_attention(q, k, v, lambda s, b, h, i, j: s + slopes[h] * (j - i), self.mask)


class Documents(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, documents: Tensor) -> Tensor:
        mask = create_block_mask(
            lambda b, h, i, j: documents[b, i] == documents[b, j],
            q.shape[0], None, 50, 50, device="cpu", BLOCK_SIZE=16,
        )  # fmt: skip
        return flex_attention(q, k, v, block_mask=mask)


def qkv(batch: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(batch)
    return [torch.randn(batch, 2, 50, 16, generator=generator) for _ in range(3)]


def check(model: nn.Module, calls: list[list[Tensor]]) -> None:
    with torch.no_grad():
        wanted = [model(*call) for call in calls]
        torch._dynamo.reset()
        compiled = torch.compile(model, backend="l0compile", options=STRICT)
        for call, answer in zip(calls, wanted, strict=True):
            torch.testing.assert_close(compiled(*call), answer, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("mask", [None, block_mask(window), block_mask(causal)])
def test_a_mask_of_the_module_is_a_constant(mask: BlockMask | None) -> None:
    check(Masked(mask).eval(), [qkv(2), qkv(3), qkv(5)])


def test_a_mask_that_reads_a_buffer_is_a_constant() -> None:
    class OfBuffer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("documents", torch.arange(50) // 19)
            numbers = self.documents
            self.mask = block_mask(lambda b, h, q, k: numbers[q] == numbers[k])

        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return flex_attention(q, k, v, block_mask=self.mask)

    check(OfBuffer().eval(), [qkv(2)])


def test_a_mask_of_an_input_is_computed_in_each_call() -> None:
    """With the second batch Dynamo makes its size a symbol, and sizes that do not fit are tried inside of vmap."""
    documents = (torch.arange(50) // 19).expand(6, 50).clone()
    documents[1] = torch.arange(50) // 23
    check(Documents().eval(), [[*qkv(batch), documents[:batch]] for batch in (2, 6)])


def test_another_mask_is_compiled_anew() -> None:
    model = Masked(block_mask(window)).eval()
    with torch.no_grad():
        compiled = torch.compile(model, backend="l0compile", options=STRICT)
        compiled(*qkv(2))
        for mod in (causal, window):
            model.mask = block_mask(mod)
            found = compiled(*qkv(2))
            torch.testing.assert_close(found, model(*qkv(2)), atol=2e-5, rtol=2e-5)


def test_a_mask_with_two_meanings_runs_in_pytorch(caplog: pytest.LogCaptureFixture) -> None:
    entries = torch.zeros(1, 1, 4, 4, dtype=torch.int32)
    mask = BlockMask.from_kv_blocks(
        torch.ones(1, 1, 4, dtype=torch.int32), entries, BLOCK_SIZE=16, mask_mod=causal, seq_lengths=(50, 50)
    )
    model = Masked(mask).eval()
    with torch.no_grad(), caplog.at_level(logging.WARNING, "l0compile"):
        torch.compile(model, backend="l0compile")(*qkv(2))
    assert "block lists and mask_mod agree" in caplog.text
