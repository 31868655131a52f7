"""masks_beside_lists: what a mask of positions hides goes out of the lists, and a mask of keys is left."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel

import l0compile as l0
from l0compile.attention.assignment.assign import EveryKey, assign_patterns
from l0compile.frontend.export import capture
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op
from l0compile.ir.ops.attention.row_program import RowProgram
from l0compile.ir.program import Program
from l0compile.rewrite.formats.lists_of_attention import constant_program
from l0compile.rewrite.formats.masks_beside_lists import masks_beside_lists
from tests.attention.window_pattern import Near

TOKENS, HEADS = 40, 4
LISTED = torch.ops.l0compile.block_attention.default
SOME = torch.rand(1, HEADS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(1)) < 0.6
ALL = torch.ones(TOKENS, TOKENS, dtype=torch.bool)
PAST, LATE = ALL.tril(), ALL.triu(-8)


class Masked(nn.Module):
    """Attention of x to itself by constant lists, under a mask that ``rule`` makes from positions and ``live``."""

    def __init__(self, seen: Tensor, rule: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.rule = rule
        for number, tensor in enumerate(RowProgram.from_mask(seen, 16, 16).operands()):
            self.register_buffer(f"list_{number}", tensor)

    def forward(self, x: Tensor, live: Tensor) -> Tensor:
        place = torch.arange(TOKENS)
        mask = self.rule(place.unsqueeze(1), place, live[:, None, None])
        lists = [getattr(self, f"list_{i}") for i in range(8)]
        return torch.ops.l0compile.block_attention(x, x, x, *lists, mask, None, HEADS, 16, 16, 0.3)


X = torch.randn(2, TOKENS, HEADS * 8, generator=torch.Generator().manual_seed(0))
LIVE = torch.arange(TOKENS) < torch.tensor([[TOKENS], [30]])
# (mask, whether one of keys is left, what the lists show then)
RULES: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], bool, Tensor]] = {
    "causal and padding": (lambda q, k, live: (k <= q) & live, True, SOME & PAST),
    "window and padding": (lambda q, k, live: ((q - k < 9) & (k <= q)) & live, True, SOME & PAST & LATE),
    "causal": (lambda q, k, live: k <= q, False, SOME & PAST),
    "added": (
        lambda q, k, live: torch.where((k <= q) & live, torch.zeros(()), float("-inf")), True, SOME & PAST,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_rules(name: str, apply_once: Callable[..., Program]) -> None:
    rule, keys, shown = RULES[name]
    result = apply_once(capture(Masked(SOME, rule).eval(), (X, LIVE)), masks_beside_lists, X, LIVE)
    (node,) = (n for n in result.graph.nodes if is_op(n, LISTED))
    mask = arguments(node)["mask"]
    assert (mask is not None) is keys
    assert mask is None or mask.meta["val"].shape[-2] == 1
    lists = constant_program(Editor(result), node)
    assert lists is not None and torch.equal(lists.to_mask(TOKENS, TOKENS), shown)


def test_lists_that_are_inside_stay_as_they_are(apply_once: Callable[..., Program]) -> None:
    program = capture(Masked(SOME & PAST, RULES["causal and padding"][0]).eval(), (X, LIVE))
    result = apply_once(program, masks_beside_lists, X, LIVE)
    assert set(result.constants) == set(program.constants)


@pytest.mark.parametrize(
    "rule",
    [
        lambda q, k, live: live,
        lambda q, k, live: (k <= q) & live & live.mT,
        lambda q, k, live: (k * q) % 3 == 0,
    ],
)
def test_other_masks_stay(rule: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    program = capture(Masked(SOME, rule).eval(), (X, LIVE))
    assert masks_beside_lists(program) is program


def test_a_causal_model_with_patterns_and_padding_has_no_island() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaModel(LlamaConfig(**sizes, intermediate_size=32, vocab_size=50, use_cache=False)).eval()
    patterns = [Near(3, 3), Near(0, 5), Near(3, 3, block=32), EveryKey()]
    sparse = assign_patterns(model, {"layers.0.self_attn": patterns})
    ids, mask = torch.arange(2 * TOKENS).view(2, TOKENS) % 50, LIVE.long()
    inputs = {"input_ids": ids, "attention_mask": mask}
    compiled = l0.compile(sparse, (), inputs, engine="tvm")
    assert [stage.engine for stage in compiled.explain().stages] == ["tvm"]
    with torch.no_grad():
        got, wanted = compiled(**inputs)[0], sparse(**inputs)[0]
    torch.testing.assert_close(got[LIVE], wanted[LIVE], atol=2e-5, rtol=1e-5)
