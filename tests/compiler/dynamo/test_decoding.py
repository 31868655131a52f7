"""``generate`` with a compiled forward: every token is eager PyTorch's."""

from typing import Any

import pytest
import torch

from l0compile.compiler.dynamo import compiled_graph

transformers = pytest.importorskip("transformers")

TOKENS = {"vocab_size": 40, "bos_token_id": 0, "eos_token_id": 39, "pad_token_id": 38}


def gpt2() -> Any:
    config = transformers.GPT2Config(n_positions=32, n_embd=16, n_layer=1, n_head=2, **TOKENS)
    return transformers.GPT2LMHeadModel(config).eval()


def llama() -> Any:
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=32, **TOKENS,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


@pytest.mark.parametrize(
    ("make", "engine"),
    [
        (gpt2, "torch"),
        pytest.param(llama, "torch", marks=pytest.mark.slow),
        pytest.param(gpt2, "tvm", marks=pytest.mark.slow),
        pytest.param(llama, "tvm", marks=pytest.mark.slow),
    ],
)
def test_whole_decode_loops(
    make: Any, engine: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    made: list[Any] = []
    inner = compiled_graph.compile
    monkeypatch.setattr(
        compiled_graph, "compile", lambda *args, **kwargs: made.append(inner(*args, **kwargs)) or made[-1]
    )
    model = make()
    ids = torch.randint(1, 38, (2, 5))
    mask = torch.ones_like(ids)
    mask[0, :2] = 0  # a shorter prompt beside a longer one
    fixed = {"attention_mask": mask, "max_new_tokens": 8, "min_new_tokens": 8}
    wanted, got = [], []
    for found in (wanted, got):
        for sampled in (False, True):
            torch.manual_seed(1)
            found.append(model.generate(ids, do_sample=sampled, **fixed))
        model.forward = torch.compile(model.forward, backend="l0compile", options={"engine": engine})
    assert not torch.equal(*wanted) and all(map(torch.equal, got, wanted))
    # One graph reads the prompt, and one or two make all tokens of any length.
    assert 2 <= len(made) <= 4
    assert not [record for record in caplog.records if record.name == "l0compile"]
