"""Every fact of the table holds for PyTorch's own operator, and nothing is claimed of an operator that is not in it."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx

from l0compile.ir.operator_facts import OperatorFacts, facts_of, operators

aten = torch.ops.aten

CORNERS = torch.tensor([0.0, 1.0, -1.0, 0.5, -2.5, 3.0, -3.0, 6.0, -6.0, 30.0, -30.0, 1e-6])
X = torch.sin(torch.arange(24.0)).reshape(2, 3, 4)
INDEX = torch.tensor([1, 0, 1])
# What comes after the first operand, where there is something to give.
REST: dict[Any, tuple[Any, ...]] = {
    aten.view.default: ([6, 4],),
    aten._unsafe_view.default: ([6, 4],),
    aten.reshape.default: ([3, -1],),
    aten.unsqueeze.default: (1,),
    aten.squeeze.dim: (1,),
    aten.squeeze.dims: ([0, 1],),
    aten.flatten.using_ints: (1, 2),
    aten.unflatten.int: (2, [2, 2]),
    aten.permute.default: ([2, 0, 1],),
    aten.transpose.int: (0, 2),
    aten.slice.Tensor: (1, 1, 3, 1),
    aten.select.int: (2, 3),
    aten.expand.default: ([5, 2, 3, 4],),
    aten.to.dtype: (torch.float64,),
    aten.type_as.default: (torch.zeros((), dtype=torch.float64),),
    aten.gather.default: (2, torch.tensor([[[3, 0], [1, 1], [2, 2]]])),
    aten.index_select.default: (1, INDEX),
    aten.index.Tensor: ([None, INDEX],),
    aten.split.Tensor: (2, 1),
    aten.split.sizes: ([1, 2], 1),
    aten.split_with_sizes.default: ([1, 2], 1),
    aten.chunk.default: (2, 1),
    aten.tensor_split.sections: (2, 1),
    aten.clamp.default: (-0.5, 0.7),
    aten.clamp_min.default: (0.2,),
    aten.clamp_max.default: (0.2,),
    aten.dropout.default: (0.5, False),
    aten.pow.Tensor_Scalar: (3,),
    aten.where.Scalar: (2.0, -1.0),
    aten.lerp.Scalar: (0.3,),
    aten.masked_fill.Scalar: (0.3,),
    aten.where.ScalarOther: (0.25,),
    aten.softmax.int: (1,),
    aten.log_softmax.int: (1,),
    aten._softmax.default: (1, False),
    aten._log_softmax.default: (1, False),
    aten.cumsum.default: (1,),
    aten.full_like.default: (2.0,),
}
MOVES = ("reshape", "permute", "part", "repeat", "copy", "pick")
CONDITION_FIRST = (aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar, aten.where.self)
DIM_LISTS = (aten.logsumexp.default, aten.var.correction, aten.std.correction)


def call(operator: Any, *operands: Any) -> Any:
    if operator is aten.where.ScalarSelf:
        return operator(operands[0], 0.25, operands[1])
    return operator(*operands, *REST.get(operator, (0.75,) if str(operator).endswith(".Scalar") else ()))


def same(left: Any, right: Any) -> bool:
    return left.dtype == right.dtype and torch.equal(left.nan_to_num(), right.nan_to_num())


@pytest.mark.parametrize("operator", [op for kind in MOVES for op in operators(moves=kind)], ids=str)
def test_what_moves_holds_elements_of_its_operand(operator: Any) -> None:
    shape = {aten.t.default: (4, 6), aten.squeeze.dim: (4, 1, 6), aten.squeeze.dims: (1, 1, 24)}.get(
        operator, (2, 3, 4)
    )
    x = torch.randperm(24).double().reshape(shape)
    result = call(operator, x)
    assert set(result.flatten().tolist()) <= set(x.flatten().tolist())
    match facts_of(operator).moves:
        case "reshape":
            assert result.flatten().tolist() == x.flatten().tolist()
        case "permute":
            assert result.shape != x.shape and sorted(result.shape) == sorted(x.shape)
            assert sorted(result.flatten().tolist()) == sorted(x.flatten().tolist())
        case "part":
            assert result.numel() < x.numel()
        case "repeat":
            assert bool((result == x).all())
        case "copy":
            assert result.shape == x.shape and bool((result == x).all())


@pytest.mark.parametrize("operator", [op for kind in MOVES for op in operators(moves=kind)], ids=str)
def test_only_casts_change_the_type_of_what_moves(operator: Any) -> None:
    options = {"dtype": torch.float64} if operator is aten._to_copy.default else {}
    x = torch.zeros(4, 6) if operator is aten.t.default else torch.zeros(2, 3, 4)
    result = operator(x, *REST.get(operator, ()), **options)
    assert (result.dtype == torch.float64) == facts_of(operator).casts


@pytest.mark.parametrize("operator", operators(strides="fit"), ids=str)
def test_a_view_wants_fitting_strides_and_a_reshape_does_not(operator: Any) -> None:
    x = torch.arange(6.0).reshape(2, 3).t()
    assert aten.reshape.default(x, [6]).tolist() == [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    with pytest.raises(RuntimeError, match="stride"):
        operator(x, [6])


@pytest.mark.parametrize("operator", operators(strides="read"), ids=str)
def test_what_reads_strides_minds_how_memory_lies(operator: Any) -> None:
    rows, columns = torch.arange(8.0).reshape(4, 2), torch.arange(8.0).reshape(4, 2).t().contiguous().t()
    args = {aten.as_strided.default: ([8], [1]), aten.view.dtype: (torch.complex64,)}.get(operator, ())
    expected = operator(rows, *args)
    try:
        assert not torch.equal(operator(columns, *args), expected)
    except RuntimeError as error:
        assert "stride" in str(error)


@pytest.mark.parametrize("operator", [op for n in (1, 2, 3) for op in operators(elementwise=n)], ids=str)
def test_an_elementwise_function_of_each_element_alone(operator: Any) -> None:
    operands = example(operator)
    whole = call(operator, *operands)
    assert whole.shape == operands[0].shape
    for place in range(len(CORNERS)):
        alone = call(operator, *(x[place : place + 1] if x.ndim else x for x in operands))
        torch.testing.assert_close(alone, whole[place : place + 1], rtol=1e-5, atol=1e-6, equal_nan=True)
    wide = call(operator, *(x[:, None] for x in operands[:1]), *operands[1:])
    assert wide.shape == (len(CORNERS), len(CORNERS) if len(operands) > 1 else 1)


def example(operator: Any) -> list[Tensor]:
    """Operands of an elementwise operator: what is not the first is another order of the same numbers."""
    bits = "bitwise" in str(operator) or "__" in str(operator)
    found = [CORNERS.int() if bits else CORNERS]
    found += [found[0].roll(3 + n) + (0 if bits else 0.25) for n in range(facts_of(operator).elementwise - 1)]
    if operator in CONDITION_FIRST:
        found[0] = found[0] > 0
    if "masked_fill" in str(operator):
        found[1] = found[1] > 0
    if operator is aten.masked_fill.Tensor:
        found[2] = torch.tensor(0.5)
    return found


@pytest.mark.parametrize("operator", operators(keeps_zero=True), ids=str)
def test_zero_stays_zero(operator: Any) -> None:
    assert facts_of(operator).elementwise == 1
    assert call(operator, torch.zeros(3)).tolist() == [0.0] * 3


@pytest.mark.parametrize("operator", operators(not_negative=True), ids=str)
@given(x=st.floats(width=32))
def test_no_result_is_negative(operator: Any, x: float) -> None:
    result = float(call(operator, torch.tensor([x])))
    assert result >= 0 or math.isnan(result)


@pytest.mark.parametrize("kind", ["and", "or"])
def test_logic(kind: Any) -> None:
    a, b = torch.tensor([False, False, True, True]), torch.tensor([False, True, False, True])
    assert len(operators(logic=kind)) == 3
    for operator in operators(logic=kind):
        assert operator(a, b).tolist() == (a & b if kind == "and" else a | b).tolist()


@pytest.mark.parametrize("number", [0.0, 1.0, "fill_value"])
def test_filled_with_one_number(number: Any) -> None:
    assert len(operators(fills=number)) == 3
    for operator in operators(fills=number):
        made = "new_" in str(operator) or "_like" in str(operator)
        sizes = () if "_like" in str(operator) else ([2, 3],)
        value = (7.0,) if number == "fill_value" else ()
        result = operator(*((torch.ones(2, 3) * 5,) if made else ()), *sizes, *value)
        assert set(result.flatten().tolist()) == {7.0 if number == "fill_value" else number}


@pytest.mark.parametrize("kind", ["sum", "mean", "max", "min"])
def test_reductions(kind: Any) -> None:
    expected = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}[kind]
    (operator,) = operators(reduces=kind)
    for dims, keep in (([1], False), ([0, 2], True)):
        assert same(operator(X, dims, keep), expected(X, dims, keep))


@pytest.mark.parametrize("operator", operators(reduces="other"), ids=str)
def test_a_reduced_axis_is_gone(operator: Any) -> None:
    has_dim = any(argument.name == "dim" for argument in operator._schema.arguments)
    x = X > 0 if operator in (aten.any.dim, aten.all.dim) else X
    given = {"dim": [1] if operator in DIM_LISTS else 1} if has_dim else {}
    assert operator(x, **given).shape == ((2, 4) if has_dim else ())


@pytest.mark.parametrize("operator", operators(mixes=True), ids=str)
def test_results_along_a_mixed_axis_depend_on_one_another_and_on_no_other(operator: Any) -> None:
    changed = X.clone()
    changed[0, 0, 0] += 1.0
    differ = call(operator, X) != call(operator, changed)
    assert int(differ[0, :, 0].sum()) > 1
    differ[0, :, 0] = False
    assert not bool(differ.any())


@pytest.mark.parametrize("operator", operators(splits=True), ids=str)
def test_parts_in_order(operator: Any) -> None:
    assert torch.equal(torch.cat(call(operator, X), 1), X)


@pytest.mark.parametrize("operator", operators(matrix_product=True), ids=str)
def test_matrix_products(operator: Any) -> None:
    a, b = torch.randn(3, 2, 4), torch.randn(3, 4, 5)
    a, b = (a[0], b[0]) if operator is aten.mm.default else (a, b)
    torch.testing.assert_close(operator(a, b), torch.einsum("...mk,...kn->...mn", a, b))


@pytest.mark.parametrize("positions", [1, 2, 3])
@pytest.mark.parametrize(
    "kind", ["convolution", "transposed convolution", "max", "mean", "adaptive mean", "resample"]
)
def test_windows_slide_over_the_last_axes(kind: Any, positions: int) -> None:
    found = operators(window=kind, positions=positions)
    assert found
    x = torch.randn(2, 3, *[6] * positions)
    weight = torch.randn(3, 3, *[2] * positions)
    for operator in found:
        if "convolution" in kind:
            args: tuple[Any, ...] = (
                weight,
                None,
                *(([1] * positions, "same") if "padding" in str(operator) else ()),
            )
        elif kind == "resample":
            corners = () if "nearest" in str(operator) else (False,)
            args = ([3] * positions, *corners, *((None,) if str(operator).endswith("vec") else ()))
        else:
            args = ([3] * positions,)
        result = operator(x, *args)
        assert result.shape[:2] == (2, 3) and result.ndim == x.ndim
        # What lies in another image of the batch has no part in it.
        torch.testing.assert_close(operator(x[:1], *args), result[:1])


@given(
    name=st.sampled_from(["cumprod", "roll", "topk", "sort", "conv_tbc", "embedding", "histc", "bernoulli"])
)
def test_an_operator_that_is_not_in_the_table_has_no_facts(name: str) -> None:
    packet = getattr(aten, name)
    assert all(facts_of(getattr(packet, o)) == OperatorFacts() for o in packet.overloads())


@pytest.mark.parametrize("thing", [None, 3, "aten.relu.default", torch.relu, aten.relu, [aten.relu.default]])
def test_what_is_no_operator_has_no_facts(thing: Any) -> None:
    assert facts_of(thing) == OperatorFacts()
    graph = fx.Graph()
    assert facts_of(graph.placeholder("relu")) == OperatorFacts()
    assert facts_of(graph.call_function(aten.relu.default)) == facts_of(aten.relu.default) != OperatorFacts()
