"""Code goes through JSON as it was, and names no operator that it must not call."""

import json

import pytest

from l0compile.errors import ArtifactError
from l0compile.ir.instructions import Code, Instruction, Named, Slot, check_target
from l0compile.runtime.torch_calls import resolve

CODE = Code(
    inputs=1,
    constants=("w",),
    instructions=(
        Instruction("aten.cat.default", ((Slot(0), Slot(1)), -1), {}, 2, (0,)),
        Instruction("aten._to_copy.default", (Slot(2),), {"dtype": Named("dtype", "float64")}, 3, (2,)),
        Instruction("aten.mul.Scalar", (Slot(3), float("-inf")), {}, 4, (3,)),
    ),
    outputs=(Slot(4), Slot(1)),
)


def test_json_and_back() -> None:
    assert Code.from_json(json.loads(json.dumps(CODE.to_json(), allow_nan=False))) == CODE


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "aten.from_file.default",
        "_operator.methodcaller",
        "torch.load",
        "l0compile.errors",
        "__class__.__init__.__globals__",
        "inductor._reinterpret_tensor.default",
        "c10d.recv_.default",
        "flow.exec",
        "",
        None,
        3,
    ],
)
def test_foreign_names_are_refused(target: object) -> None:
    with pytest.raises(ArtifactError, match="expected the name of an operator"):
        check_target(target)
    record = CODE.to_json()
    record["instructions"][0][0] = target
    with pytest.raises(ArtifactError, match="expected the name of an operator"):
        Code.from_json(record)


def test_what_control_flow_runs_is_checked_too() -> None:
    inner = Code(
        1, (), (Instruction("aten.neg.default", (Slot(0),), {}, 1, (0,)),), (Slot(1),), {"x.y.z": "m"}
    )
    outer = Code(
        2, (), (Instruction("flow.cond", (inner, inner, Slot(0), Slot(1)), {}, 2, (0, 1)),), (Slot(2),)
    )
    record = json.loads(json.dumps(outer.to_json()))
    assert Code.from_json(record) == outer
    record["instructions"][0][1][0]["code"]["instructions"][0][0] = "os.system"
    with pytest.raises(ArtifactError, match="expected the name of an operator"):
        Code.from_json(record)


@pytest.mark.parametrize("target", ["nobodys.operator.default", "load_library.a.b", "nobodys.name.typename"])
def test_operators_of_nobody(target: str) -> None:
    with pytest.raises(
        ArtifactError, match=rf"{target} is neither PyTorch's nor registered .* import made.up, which"
    ):
        resolve(target, "made.up")


def test_operators_that_change_their_arguments_are_refused() -> None:
    with pytest.raises(ArtifactError, match="changes its arguments"):
        resolve("aten.add_.Tensor")


def test_missing_operators_are_named() -> None:
    with pytest.raises(ArtifactError, match=r"aten.no_such_thing.default is not in PyTorch"):
        resolve("aten.no_such_thing.default")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"instructions": [[1]]}, r"instructions\[0\]: expected a list of 5, got \[1\]"),
        (
            {"instructions": [["aten.neg.default", [], {}, "2", []]]},
            r"instructions\[0\]\[3\]: expected a whole number",
        ),
        ({"outputs": [{"what": 1}]}, "expected an argument of one of the kinds slot"),
        ({"outputs": [{"slot": True}]}, "slot: expected a whole number of at least 0, got True"),
        ({"outputs": [{"float": "1"}]}, "float: expected one of 'inf'"),
        ({"outputs": [{"slot": 1, "code": 2}]}, "expected an argument of one of the kinds slot"),
        ({"homes": {"a.b.c": 1}}, r"homes\.a\.b\.c: expected text, got 1"),
        ({"inputs": None}, "inputs: expected a whole number of at least 0, got None"),
        ({"more": 1}, "more: unknown key"),
    ],
)
def test_malformed_code(broken: dict[str, object], message: str) -> None:
    with pytest.raises(ArtifactError, match=f"^load: a list of PyTorch operators: .*{message}"):
        Code.from_json({**CODE.to_json(), **broken})


def test_code_without_its_keys() -> None:
    with pytest.raises(
        ArtifactError, match=r"inputs: is missing; expected a whole number.*save the model again"
    ):
        Code.from_json({})
