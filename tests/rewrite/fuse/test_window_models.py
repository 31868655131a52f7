"""Models with sliding windows, as transformers writes their masks: the mask is gone, the answers are the same."""

import importlib.util
from typing import Any

import pytest
import torch
from torch import fx, nn

import l0compile as l0
from l0compile.compiler.dynamo import compiled_graph
from l0compile.frontend.export import capture
from l0compile.rewrite.passes import select
from l0compile.rewrite.pipeline import FUSE, NORMALIZE
from l0compile.rewrite.runner import run

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)

attention = torch.ops.l0compile.attention.default
Window = tuple[int | None, int | None]
SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SHARED = {**SIZES, "num_key_value_heads": 2, "sliding_window": 6, "use_cache": False}
GEMMA = {**SHARED, "head_dim": 8, "attn_logit_softcapping": None}
PAST, SLIDING, LOCAL, ALL = (None, 0), (5, 0), (4, 4), (None, None)
# Name of the model -> (its configuration, the windows of its layers)
MODELS: dict[str, tuple[dict[str, Any], list[Window]]] = {
    "Mistral": (SHARED, [SLIDING, SLIDING]),
    "Phi3": (SHARED, [SLIDING, SLIDING]),
    "Gemma2": ({**GEMMA, "attn_logit_softcapping": 0.5}, [SLIDING, PAST]),
    "Gemma3": ({**GEMMA, "layer_types": ["sliding_attention", "full_attention"]}, [SLIDING, PAST]),
    "ModernBert": (
        {
            **SIZES,
            "local_attention": 8,
            "global_attn_every_n_layers": 2,
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
        [ALL, LOCAL],
    ),
}
KINDS = [(name, kind) for name in MODELS for kind in ("sdpa", "eager") if (name, kind) != ("Gemma2", "sdpa")]


def build(name: str, kind: str) -> nn.Module:
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    family = f"{name}Text" if name == "Gemma3" else name
    config = getattr(transformers, f"{family}Config")(**MODELS[name][0], attn_implementation=kind)
    model: nn.Module = getattr(transformers, f"{family}Model")(config).eval()
    return model


def example(batch: int, length: int, padded: bool) -> dict[str, torch.Tensor]:
    """Padding is before the first tokens and behind the last, and longer than a window."""
    torch.manual_seed(length)
    found = {"input_ids": torch.randint(3, 50, (batch, length))}
    if padded:
        mask = torch.ones(batch, length, dtype=torch.int64)
        mask[-1, length - length // 2 :] = 0
        mask[0, : length // 4] = 0
        found["attention_mask"] = mask
    return found


def dims(inputs: dict[str, torch.Tensor]) -> Any:
    return {key: {0: "batch", 1: "length"} for key in inputs}


def attentions(name: str, kind: str, padded: bool, dynamic: bool) -> list[fx.Node]:
    inputs = example(2, 16, padded)
    program = capture(build(name, kind), (), inputs, dynamic_shapes=dims(inputs) if dynamic else None)
    return run(program, select((NORMALIZE, FUSE))).graph.find_nodes(op="call_function", target=attention)


@pytest.mark.parametrize("dynamic", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_without_padding_no_mask_is_left(name: str, kind: str, dynamic: bool) -> None:
    found = attentions(name, kind, False, dynamic)
    assert [node.args[6:8] for node in found] == MODELS[name][1]
    assert all(node.args[3] is None for node in found)


@pytest.mark.parametrize("dynamic", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_padding_stays_a_mask_of_keys(name: str, kind: str, dynamic: bool) -> None:
    found = attentions(name, kind, True, dynamic)
    # Written in plain operators, causal layers keep one mask of all: it is added, and hides no key from some queries.
    windows = [ALL if kind == "eager" and window == PAST else window for window in MODELS[name][1]]
    assert [node.args[6:8] for node in found] == windows
    for node in found:
        _, *rest, _ = node.args[3].meta["val"].shape  # type: ignore[union-attr]
        assert rest == [1, 1] or (kind == "eager" and node.args[6:8] == ALL)


@pytest.mark.slow
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_compiled(name: str, kind: str, padded: bool) -> None:
    model, inputs = build(name, kind), example(2, 16, padded)
    compiled = l0.compile(model, (), inputs, dynamic_shapes=dims(inputs), engine="tvm")
    for batch, length in ((2, 16), (1, 3), (3, 40)):
        given = example(batch, length, padded)
        with torch.no_grad():
            expected, found = (f(**given)["last_hidden_state"] for f in (model, compiled))
        assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()


@pytest.mark.slow
def test_torch_compile_sees_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    inner = compiled_graph.compile

    def kept(*args: Any, **kwargs: Any) -> Any:
        made.append(inner(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(compiled_graph, "compile", kept)
    model, inputs = build("Mistral", "sdpa"), example(2, 16, True)
    compiled = torch.compile(model, backend="l0compile", options={"engine": "tvm"})
    with torch.no_grad():
        torch.testing.assert_close(
            compiled(**inputs)["last_hidden_state"],
            model(**inputs)["last_hidden_state"],
            rtol=2e-5,
            atol=2e-5,
        )
    reasons = [region.reason for region in made[-1].explain().regions if region.kind == "attention"]
    assert len(reasons) == 2 and all("window" in reason for reason in reasons)
