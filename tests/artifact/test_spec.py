"""Input and output structures survive as JSON, and a manifest cannot make the loader import what it likes."""

import json
import subprocess
import sys
from collections import OrderedDict, defaultdict, namedtuple
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._pytree import tree_flatten, tree_unflatten

from l0compile.artifact import dump_spec, load_spec
from l0compile.errors import ArtifactError

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
    code = f"from l0compile.artifact import load_spec; print(load_spec({text!r}).type.__name__)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "BaseModelOutput"


class Colour(Enum):
    RED = 1


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize("tree", [defaultdict(list, a=1), {Colour.RED: 1}, Pair(1, 2)])
def test_containers_without_a_safe_name_are_refused_when_saving(tree) -> None:
    with pytest.raises(ArtifactError, match="cannot be stored as JSON"):
        dump_spec(tree_flatten(tree)[1])


def node(kind: str, context: object) -> str:
    leaf = {"type": None, "context": None, "children_spec": []}
    return json.dumps([1, {"type": kind, "context": context, "children_spec": [leaf]}])


@pytest.mark.parametrize(
    "text",
    [
        node(
            "collections.defaultdict",
            {"default_factory_module": "this", "default_factory_name": "s", "dict_context": ["a"]},
        ),
        node("builtins.dict", json.dumps([{"__enum__": True, "fqn": "this:s", "name": "x"}])),
        node("this.Output", "[]"),
        node("transformers.this.Output", "[]"),
        "[]",
        "not json",
        "{}",
    ],
)
def test_a_hostile_or_broken_text_imports_nothing(text: str) -> None:
    sys.modules.pop("this", None)
    with pytest.raises(ArtifactError, match="cannot be rebuilt"):
        load_spec(text)
    assert "this" not in sys.modules
