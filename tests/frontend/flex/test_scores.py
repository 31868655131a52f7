"""score_mods of flex_attention against eager PyTorch, and which of them the kernels can compute."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from tests.frontend.flex.flex_models import Flex, captured, note, operators, qkv

SLOPES = 2.0 ** -torch.arange(1.0, 5)
TABLE = torch.randn(4, 99, generator=torch.Generator().manual_seed(0))
INFINITY = float("inf")


def window(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return (q - k).abs() < 9


def alibi(table: Tensor, score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return score + table[h] * (k - q)


def alibi_of_absolute_distance(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return score - table[h] * (q - k).abs()


def softcap(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return 3.0 * torch.tanh(score / 3.0)


def negative_softcap(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return torch.tanh(score * 0.5) * -3.0


def relative_table(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return score + table[h, q - k + 49]


def softcap_then_table(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return 3.0 * torch.tanh(score / 3.0) - 2.0 * table[h, q - k + 49]


def factors_around_a_sum(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return 0.5 * (2.0 * score - table[h] * (q + 3 - k)) / 0.25


def logarithm_of_distance(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return score + torch.where(q >= k, torch.log1p((q - k).abs().float()), 0.0) * table[h]


def one_bias_for_all_heads(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return score + table[0] * (q - k)


def condition(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return torch.where((q - k).abs() < 7 + h, score * 2, -INFINITY)


def two_conditions(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return torch.where(q >= k, torch.where(q - k < 20, score + table[h] * (q - k), -INFINITY), -INFINITY)


def filled(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return score.masked_fill(k > q, -INFINITY)


def infinite_bias(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return score + torch.where(q - k < 20, table[h] * 0.5, -INFINITY)


@pytest.mark.parametrize(
    "mod",
    [
        alibi, alibi_of_absolute_distance, softcap, negative_softcap, factors_around_a_sum, logarithm_of_distance,
        one_bias_for_all_heads, condition, two_conditions, infinite_bias,
    ],
    ids=lambda mod: mod.__name__,
)  # fmt: skip
def test_the_kernel_can_compute_these(mod: Callable[..., Tensor]) -> None:
    mask = create_block_mask(window, None, None, 50, 50, device="cpu", BLOCK_SIZE=16)
    program = captured(Flex(mask, mod, SLOPES), qkv())
    assert operators(program) == {"block_attention"}
    program = captured(Flex(None, mod, SLOPES), qkv())
    assert operators(program) == {"block_attention"}


def test_numbers_and_tensors_that_a_function_makes() -> None:
    def mod(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
        return score / torch.tensor(4.0) + table[1] * (q - k) + torch.full((), 2.0) * (k - q)

    assert operators(captured(Flex(None, mod, SLOPES), qkv())) == {"block_attention"}


@pytest.mark.parametrize("mod", [relative_table, softcap_then_table], ids=lambda mod: mod.__name__)
def test_tables_become_a_bias(mod: Callable[..., Tensor]) -> None:
    program = captured(Flex(None, mod, TABLE), qkv())
    (bias,) = [tensor for name, tensor in program.constants.items() if "bias" in name]
    factor = 1.0 if mod is relative_table else -2.0
    torch.testing.assert_close(bias, factor * TABLE)


def test_a_condition_in_the_score_joins_the_mask() -> None:
    assert operators(captured(Flex(None, filled), qkv())) == {"scaled_dot_product_attention"}


def test_a_factor_goes_into_the_scale() -> None:
    model = Flex(None, lambda table, score, b, h, q, k: -score / 4, scale=0.5)
    assert operators(captured(model, qkv())) == {"scaled_dot_product_attention"}


def test_sums_are_given_with_every_form() -> None:
    for mod in (alibi, softcap, condition):
        captured(Flex(None, mod, SLOPES, return_lse=True), qkv())


def test_a_table_that_is_computed_from_an_input() -> None:
    class Computed(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor, slopes: Tensor) -> Tensor:
            doubled = slopes * 2
            return flex_attention(q, k, v, lambda s, b, h, i, j: s + doubled[h] * (i - j), enable_gqa=True)

    program = captured(Computed(), (*qkv(), SLOPES), [(*qkv(), -SLOPES)])
    assert operators(program) == {"block_attention"}


def test_a_bias_for_any_length() -> None:
    shapes = {name: {0: "batch", 2: "length"} for name in "qkv"}
    for mod in (alibi, softcap):
        program = captured(Flex(None, mod, SLOPES), qkv(), [qkv(31, batch=3)], shapes)
        assert operators(program) == {"block_attention"}


def times_sigmoid(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return score * torch.sigmoid(score)


def of_batch(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return score + table[b] * (q - k)


def of_query(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return score + table[h] * q


def of_product(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return score + (q * k) * 0.01


def of_rows(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return score + (table * q).sum() * 0.01


def scaled_by_head(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return score * table[h]


def capped_condition(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    """tanh(-inf) is -1: this condition hides nothing."""
    return torch.tanh(torch.where(q >= k, score, -INFINITY))


def of_no_score(table, score, b, h, q, k):  # type: ignore[no-untyped-def]
    return table[h] * (q - k)


@pytest.mark.parametrize(
    "mod",
    [times_sigmoid, of_batch, of_query, of_product, of_rows, scaled_by_head, capped_condition, of_no_score],
    ids=lambda mod: mod.__name__,
)
def test_all_others_are_computed_as_eager_does(mod: Callable[..., Tensor]) -> None:
    mask = create_block_mask(window, None, None, 50, 50, device="cpu", BLOCK_SIZE=16)
    program = captured(Flex(mask, mod, SLOPES), qkv())
    assert operators(program) == {"_softmax"}
    assert note(program).startswith("flex_attention in ordinary operators: its score_mod")


def test_others_take_any_batch_and_give_sums() -> None:
    shapes = {name: {0: "batch"} for name in "qkv"}
    captured(Flex(None, times_sigmoid, return_lse=True), qkv(), [qkv(50, batch=5)], shapes)
