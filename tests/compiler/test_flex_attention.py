"""Models with flex_attention, compiled: against eager PyTorch and against compiled FlexAttention."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

import l0compile as l0

TOKENS, HEADS, SHARED, WIDTH = 150, 4, 2, 16
SLOPES = 2.0 ** -torch.arange(1.0, 1 + HEADS)
TABLE = torch.randn(HEADS, 2 * TOKENS - 1, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Attention(nn.Module):
    """Grouped-query attention with a mask and a score_mod."""

    def __init__(self, mask: BlockMask | None = None, score: Callable[..., Tensor] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.o = nn.Linear(32, HEADS * WIDTH), nn.Linear(HEADS * WIDTH, 32)
        self.k, self.v = nn.Linear(32, SHARED * WIDTH), nn.Linear(32, SHARED * WIDTH)
        self.mask, self.score, self.attend = mask, score, flex_attention

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (-1, WIDTH)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mixed = self.attend(q, k, v, self.score, self.mask, enable_gqa=True)
        result: Tensor = self.o(mixed.transpose(1, 2).flatten(2))
        return result


class Documents(Attention):
    """The mask is made of the numbers of the documents, which are an input."""

    def forward(self, x: Tensor, documents: Tensor) -> Tensor:  # type: ignore[override]
        def mod(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return (q >= k) & (documents[b, q] == documents[b, k])

        self.mask = create_block_mask(mod, x.shape[0], None, TOKENS, TOKENS, device="cpu", BLOCK_SIZE=32)
        return super().forward(x)


def mask_of(mod: Callable[..., Tensor], block: int = 32) -> BlockMask:
    return create_block_mask(mod, None, None, TOKENS, TOKENS, device="cpu", BLOCK_SIZE=block)


def causal(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return q >= k


def window(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return (q >= k) & (q - k < 40)


def prefix(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return (q >= k) | (k < 30)


def alibi(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return score + SLOPES[h] * (k - q)


def softcap_and_table(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return 5.0 * torch.tanh(score / 5.0) + TABLE[h, q - k + TOKENS - 1]


def odd(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return score * torch.sigmoid(score) + b


def blocks_by_number() -> BlockMask:
    """Each row of blocks reads the first block and its own."""
    own = torch.arange(5, dtype=torch.int32)
    entries = torch.stack([torch.zeros_like(own), own, *[torch.zeros_like(own)] * 3], -1)
    counts = (own > 0).int() + 1

    def mod(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k // 32 == 0) | (k // 32 == q // 32)

    shape = (1, 1, 5)
    return BlockMask.from_kv_blocks(
        counts.reshape(shape), entries.reshape(*shape, 5),
        BLOCK_SIZE=32, mask_mod=mod, seq_lengths=(TOKENS, TOKENS),
    )  # fmt: skip


CASES: dict[str, Callable[[], nn.Module]] = {
    "dense": lambda: Attention(),
    "causal": lambda: Attention(mask_of(causal)),
    "window": lambda: Attention(mask_of(window)),
    "prefix in default blocks": lambda: Attention(mask_of(prefix, 128)),
    "listed blocks": lambda: Attention(blocks_by_number()),
    "alibi": lambda: Attention(mask_of(causal), alibi),
    "softcap and table": lambda: Attention(mask_of(window), softcap_and_table),
    "odd": lambda: Attention(mask_of(window), odd),
    "documents": lambda: Documents(),
}


def arguments(name: str, batch: int = 2) -> tuple[Tensor, ...]:
    x = torch.randn(batch, TOKENS, 32, generator=torch.Generator().manual_seed(batch))
    documents = (
        torch.randint(0, 4, (batch, TOKENS), generator=torch.Generator().manual_seed(2)).sort(-1).values
    )
    return (x, documents) if name == "documents" else (x,)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted.detach(), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_answers_are_those_of_eager_flex_attention(name: str, tmp_path: Path) -> None:
    model, shapes = CASES[name]().eval(), {"x": {0: "batch"}}
    if name == "documents":
        shapes["documents"] = {0: "batch"}
    compiled = l0.compile(model, arguments(name), dynamic_shapes=shapes, engine="tvm")
    compiled.save(tmp_path / "model.l0")
    loaded = l0.load(tmp_path / "model.l0")
    for batch in (2, 3):
        args = arguments(name, batch)
        with torch.no_grad():
            wanted = model(*args)
        close(compiled(*args), wanted)
        close(loaded(*args), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_answers_are_those_of_compiled_flex_attention(name: str) -> None:
    model, args = CASES[name]().eval(), arguments(name)
    found = l0.compile(model, args, engine="tvm")(*args)
    torch._dynamo.reset()
    # The call alone: PyTorch 2.13 cannot compile it together with the layer that its queries come from.
    model.attend = torch.compile(flex_attention)
    with torch.no_grad():
        close(found, model(*args))


def test_explain_tells_of_the_mask_and_of_what_no_kernel_computes() -> None:
    def reasons(name: str) -> str:
        compiled = l0.compile(CASES[name]().eval(), arguments(name), engine="tvm")
        return " ".join(region.reason for region in compiled.explain().regions if region.kind == "attention")

    assert "flex_attention: 51% of the scores are computed, in blocks of 32×32" in reasons("window")
    assert "flex_attention in ordinary operators: its score_mod does more" in reasons("odd")
    assert "all heads are read" in reasons("causal")


def test_a_model_in_pytorch_has_the_same_answers() -> None:
    for name in ("window", "documents"):
        model, args = CASES[name]().eval(), arguments(name)
        with torch.no_grad():
            close(l0.compile(model, args, engine="torch")(*args), model(*args))


def hugging_face(sliding: bool) -> Any:
    transformers = pytest.importorskip("transformers")
    sizes: dict[str, Any] = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 50, "max_position_embeddings": 128, "use_cache": False,
    }  # fmt: skip
    if sliding:
        config = transformers.MistralConfig(**sizes, sliding_window=24)
    else:
        config = transformers.LlamaConfig(**sizes)
    config._attn_implementation = "flex_attention"
    torch.manual_seed(0)
    kind = transformers.MistralModel if sliding else transformers.LlamaModel
    return kind(config).eval()


@pytest.mark.slow
@pytest.mark.parametrize("sliding", [False, True])
def test_transformers_that_ask_for_flex_attention(sliding: bool) -> None:
    model, ids = hugging_face(sliding), torch.arange(96).reshape(2, 48) % 50
    compiled = l0.compile(model, kwargs={"input_ids": ids}, engine="tvm")
    regions = [region for region in compiled.explain().regions if region.kind == "attention"]
    assert ["flex_attention" in region.reason for region in regions] == [sliding] * 2
    with torch.no_grad():
        wanted = model(input_ids=ids.flip(0)).last_hidden_state
    close(compiled(input_ids=ids.flip(0)).last_hidden_state, wanted)
