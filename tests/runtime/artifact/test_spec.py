"""Input and output structures survive as JSON, and a manifest cannot make the loader import what it likes."""

import json
import subprocess
import sys
from collections import OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from enum import Enum

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from l0compile.errors import ArtifactError
from l0compile.ir.structure import Fixed, SizeOf, Structure, with_values
from l0compile.runtime.artifact import dump_spec, load_spec
from l0compile.runtime.artifact.spec import Record

trees = st.recursive(
    st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text("ab'\"{}é", max_size=3), inner, max_size=3)
        | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=8,
)


@given(trees)
def test_any_nesting_survives(tree) -> None:
    leaves, spec = tree_flatten(tree)
    back = load_spec(dump_spec(spec))
    assert back == spec
    assert tree_unflatten(leaves, back) == tree


def test_hugging_face_outputs_load_in_a_process_that_has_not_imported_them() -> None:
    pytest.importorskip("transformers")
    from transformers.modeling_outputs import BaseModelOutput

    text = dump_spec(tree_flatten(BaseModelOutput(last_hidden_state=1))[1])
    code = f"from l0compile.runtime.artifact import load_spec; print(load_spec({text!r}).type.__name__)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "BaseModelOutput"


def elsewhere(spec: TreeSpec, script: str) -> str:
    """What ``script`` prints about ``tree``, rebuilt from ``spec`` in a process without the classes of this one."""
    code = f"import sys; from l0compile.runtime.artifact import load_spec; spec = load_spec({dump_spec(spec)!r})\n"
    code += "tree = __import__('torch').utils._pytree.tree_unflatten([1, 2], spec)\n" + script
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_classes_that_are_not_there_become_look_alikes() -> None:
    pair = tree_flatten(Pair(1, 2))[1]
    assert load_spec(dump_spec(pair)) == pair
    assert elsewhere(pair, "a, b = tree; print(a + tree.b, tree._fields)") == "3 ('a', 'b')"
    answer = tree_flatten(Answer(1, 2))[1]
    assert load_spec(dump_spec(answer)) == answer
    assert elsewhere(answer, "print(type(tree).__name__, tree['value'], tree.other)") == "Record 1 2"


def test_without_transformers_a_hugging_face_output_is_a_record() -> None:
    pytest.importorskip("transformers")
    from transformers.modeling_outputs import BaseModelOutput

    text = dump_spec(tree_flatten(BaseModelOutput(last_hidden_state=1))[1])
    code = (
        "import sys; sys.modules['transformers'] = None\nfrom l0compile.runtime.artifact import load_spec\n"
    )
    code += f"tree = __import__('torch').utils._pytree.tree_unflatten([7], load_spec({text!r}))\n"
    code += "print(type(tree).__name__, tree.last_hidden_state)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "Record 7"


class Colour(Enum):
    RED = 1


Pair = namedtuple("Pair", "a b")


@dataclass
class Answer:
    value: int
    other: int


torch.export.register_dataclass(Answer)


@pytest.mark.parametrize("tree", [defaultdict(list, a=1), {Colour.RED: 1}, {1.5: 1}, deque([1])])
def test_containers_without_a_safe_name_are_refused_when_saving(tree) -> None:
    with pytest.raises(ArtifactError, match="cannot be stored as JSON"):
        dump_spec(tree_flatten(tree)[1])


def node(**entries: object) -> str:
    return json.dumps(
        {"kind": "object", "class": "this:s", "keys": ["a"], "absent": None, "children": [None]} | entries
    )


@pytest.mark.parametrize(
    "kind", ["this:s", "transformers.this:Output", "collections:defaultdict", "os:system", ":", "x"]
)
def test_a_hostile_class_imports_and_calls_nothing(kind: str) -> None:
    sys.modules.pop("this", None)
    assert load_spec(node(**{"class": kind})).type is Record
    assert load_spec(node(**{"class": kind, "kind": "named tuple"})).context._fields == ("a",)
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    "text",
    [
        node(kind="set"), node(keys=["a", "b"]), node(keys=3), node(kind="fixed", value=[1]), node(children=3),
        node(kind="named tuple", keys=["import os"]), node(kind="dict", children=[{"kind": "this"}]),
        "[]", "not json", "{}", "7",
    ],
)  # fmt: skip
def test_a_broken_text_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="cannot be rebuilt"):
        load_spec(text)


def test_values_and_sizes_in_a_structure() -> None:
    spec = with_values(tree_flatten([0, {"a": 0, "b": 0}])[1], {1: Fixed(None), 2: SizeOf(("*", "n", 2))})
    back = load_spec(dump_spec(spec))
    assert back == spec and Structure(back).unflatten(["x"], {"n": 3}) == ["x", {"a": None, "b": 6}]
    assert Fixed(1) != Fixed(True) and Fixed(1) != Fixed(1.0) and Fixed("a") == Fixed("a")
