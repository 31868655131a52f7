"""transformers' StaticCache as state: the wrapper's buffers are the cache."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from l0compile.compiler.compile import compile, load

transformers = pytest.importorskip("transformers")


class WithCache(nn.Module):
    """A causal language model that keeps its cache: ids [1, tokens] -> scores of the next token [1, vocab]."""

    def __init__(self, model: Any, places: int) -> None:
        super().__init__()
        self.model, config = model, model.config
        self.cache = transformers.StaticCache(config=config, max_cache_len=places)
        heads, width = config.num_key_value_heads, config.hidden_size // config.num_attention_heads
        self.cache.early_initialization(1, heads, width, torch.float32, torch.device("cpu"))
        for number, layer in enumerate(self.cache.layers):
            for name in ("keys", "values", "cumulative_length"):
                self.register_buffer(f"{name}_{number}", getattr(layer, name))

    def forward(self, ids: Tensor) -> Tensor:
        for number, layer in enumerate(self.cache.layers):
            for name in ("keys", "values", "cumulative_length"):
                setattr(layer, name, getattr(self, f"{name}_{number}"))
        return self.model(ids, past_key_values=self.cache, use_cache=True).logits[:, -1]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "tvm"])
def test_llama(engine: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32,
    )  # fmt: skip
    model = WithCache(transformers.LlamaForCausalLM(config).eval(), 16).eval()
    first = torch.tensor([[7]])
    compiled = compile(model, (first,), engine=engine)
    compiled.save(tmp_path / "model")
    wanted, scores = [first], []
    with torch.no_grad():
        for _ in range(10):
            scores.append(model(wanted[-1]))
            wanted.append(scores[-1].argmax(-1, keepdim=True))
    for run in (compiled, load(tmp_path / "model")):
        for ids, expected in zip(wanted, scores, strict=False):
            got = run(ids)
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
            assert torch.equal(got.argmax(-1), expected.argmax(-1))
    assert len(compiled.explain().state) == 6 and "keys_1: float32 1×2×16×4" in str(compiled.explain())
