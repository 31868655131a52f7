"""Calls are checked before any kernel runs; every message names the input, what was expected and what came."""

import pytest
import torch
from torch.utils import _pytree as pytree

from l0compile.errors import InputError
from l0compile.runtime import InputSpec, Signature

IDS = torch.zeros(2, 3, dtype=torch.int64)
MASK = torch.ones(2, 3)


@pytest.fixture
def signature() -> Signature:
    inputs = (InputSpec("ids", "int64", ("s0", "s1"), below=10), InputSpec("mask", "float32", ("s0", "s1")))
    _, in_spec = pytree.tree_flatten(((IDS,), {"mask": MASK}))
    _, out_spec = pytree.tree_flatten({"y": IDS})
    return Signature(inputs, (), {"s0": (1, None), "s1": (2, 8)}, {"s1": "seq"}, in_spec, out_spec)


def test_good_call(signature: Signature) -> None:
    leaves = signature.flatten((IDS,), {"mask": MASK})
    assert leaves[0] is IDS and leaves[1] is MASK
    assert signature.unflatten([IDS], leaves) == {"y": IDS}


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((IDS,), {}, "expected 2 tensors"),
        ((IDS, MASK), {}, "expected 2 tensors"),
        ((IDS.float(),), {"mask": MASK}, r"ids: expected dtype int64, got float32"),
        (("text",), {"mask": MASK}, r"ids: expected a torch.Tensor of int64, got str"),
        ((IDS[0],), {"mask": MASK}, r"ids: expected 2 axes, got shape \(3,\)"),
        ((IDS,), {"mask": MASK[:, :2]}, r"mask: expected seq \(axis 1\) to be 3 as in ids, got 2"),
        ((IDS[:, :1],), {"mask": MASK[:, :1]}, r"ids: expected seq \(axis 1\) of 2 to 8, got 1"),
        ((torch.zeros(1, 9, dtype=torch.int64),), {"mask": torch.ones(1, 9)}, "of 2 to 8, got 9"),
        ((IDS + 10,), {"mask": MASK}, "ids: expected indices from 0 to 9 .* got 10"),
        ((IDS - 1,), {"mask": MASK}, "got -1"),
        (
            (IDS.to("meta"),),
            {"mask": MASK},
            "expected a CPU tensor of dense int64, got one on the meta device",
        ),
    ],
)
def test_bad_calls(signature: Signature, args, kwargs, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        signature.flatten(args, kwargs)


def test_fixed_sizes_say_how_to_vary_them() -> None:
    _, spec = pytree.tree_flatten(((MASK,), {}))
    fixed = Signature((InputSpec("x", "float32", (2, 3)),), (), {}, {}, spec, spec)
    with pytest.raises(
        InputError, match=r"expected shape \[2, 3\], got size 4 at axis 0; compile with dynamic_shapes"
    ):
        fixed.flatten((torch.ones(4, 3),), {})


def test_what_was_accepted_once_is_still_checked(signature: Signature) -> None:
    for _ in range(2):
        assert signature.flatten((IDS,), {"mask": MASK})[0] is IDS
    for wrong, message in ((IDS + 10, "got 10"), (IDS.int(), "expected dtype"), (IDS[:1], "to be 1")):
        with pytest.raises(InputError, match=message):
            signature.flatten((wrong,), {"mask": MASK})


def test_results_that_are_one_tensor_or_a_tuple() -> None:
    for result in (MASK, (MASK,), (MASK, IDS), [MASK], {"y": (MASK,)}):
        leaves, out = pytree.tree_flatten(result)
        _, spec = pytree.tree_flatten(((MASK,), {}))
        given = Signature((), (), {}, {}, spec, out).unflatten(leaves, [MASK])
        assert type(given) is type(result) and pytree.tree_structure(given) == out
