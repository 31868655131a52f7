"""What each input of a Dynamo graph is: a weight, data, a size of the data, or a Python number."""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from l0compile.errors import CaptureError

_KEY = re.compile(r"\['([^']+)'\]|\[(\d+)\]|\.(\w+)")
_STORES = ("_modules", "_parameters", "_buffers")


@dataclass(frozen=True)
class Inputs:
    """The inputs that a graph's results need, by role, as positions among its arguments.

    Attributes:
        weights: position -> dotted name of a parameter or buffer, or of a list of an attention mask's blocks, taken as
            a constant.
        data: tensors that differ from call to call.
        sizes: position -> (data position, axis), an integer that is a size of that tensor.
        values: Python numbers that follow from no tensor; the graph is compiled for the values that they have.
    """

    weights: dict[int, str]
    data: tuple[int, ...]
    sizes: dict[int, tuple[int, int]]
    values: tuple[int, ...]


def read_inputs(
    placeholders: Sequence[fx.Node], examples: Sequence[Any], needed: Container[fx.Node]
) -> Inputs:
    """Return the role of each needed input.

    Raises:
        CaptureError: an input is neither a tensor nor a number.
    """
    weights: dict[int, str] = {}
    data: list[int] = []
    numbers: list[int] = []
    fixed = {
        node
        for node, example in zip(placeholders, examples, strict=True)
        if isinstance(example, nn.Parameter) or _is_buffer(node)
    }
    for position, (node, example) in enumerate(zip(placeholders, examples, strict=True)):
        wrapped = getattr(node.meta.get("grapharg"), "pass_arg_as_tensor", False)
        if isinstance(example, torch.Tensor) and not wrapped:
            if node not in fixed and not _is_block_list(node, fixed):
                data.append(position)
            elif node in needed:
                weights[position] = _weight_name(node, weights)
        elif node not in needed:
            continue
        elif wrapped or isinstance(example, int | float | bool | torch.SymInt | torch.SymFloat):
            numbers.append(position)
        else:
            raise CaptureError(
                f"torch.compile: input {node.name}: expected a tensor or a number, got {type(example).__name__}"
            )
    sizes = {n: found for n in numbers if (found := _as_size(n, placeholders, data)) is not None}
    sources = {source for source, _ in sizes.values()}
    used = tuple(position for position in data if placeholders[position] in needed or position in sources)
    return Inputs(weights, used, sizes, tuple(n for n in numbers if n not in sizes))


def number(value: Any) -> Any:
    """Return the Python number behind a tensor or symbol that stands for it."""
    if isinstance(value, torch.SymInt | torch.SymFloat):
        return value.node.hint  # int() would make the symbol a constant in Dynamo's eyes
    return value.item() if isinstance(value, torch.Tensor) else value


def module_path(name: str) -> str:
    """Turn ``L['self'].layers[0].up`` and the like into the dotted name that ``named_modules`` gives."""
    root = re.match(r"L\['\w+'\]|L__\w+?__(?=\.|$)|G\['\w+'\]", name)
    if root is None:
        return name
    keys = ["".join(match) for match in _KEY.findall(name[root.end() :])]
    return ".".join(key for key in keys if key not in _STORES)


def _is_buffer(node: fx.Node) -> bool:
    source = getattr(node, "_dynamo_source", None)
    while source is not None:
        if type(source).__name__ == "UnspecializedParamBufferSource":
            return True
        source = getattr(source, "base", None)
    return False


def _is_block_list(node: fx.Node, fixed: Container[fx.Node]) -> bool:
    """Whether an input is a list of the blocks of a mask that depends on positions and weights, and nothing else.

    What such a mask lists is checked while compiling. A mask that depends on data is evaluated in each call.
    """

    def lists(user: fx.Node) -> bool:
        args: Any = user.args
        if getattr(user.target, "_name", "") != "flex_attention" or len(args) < 9:
            return False
        captured = [buffer for buffer in args[8] if isinstance(buffer, fx.Node)]
        others = pytree.tree_leaves((args[:4], args[5:]))
        return all(buffer in fixed for buffer in captured) and not any(node is other for other in others)

    return bool(node.users) and all(map(lists, node.users))


def _weight_name(node: fx.Node, taken: dict[int, str]) -> str:
    source = getattr(node, "_dynamo_source", None)
    text = getattr(source, "name", "")
    stem = module_path(text() if callable(text) else str(text)) or node.name
    stem = ".".join(part for part in stem.split(".") if part) or node.name
    name, number = stem, 0
    while any(_clash(name, other) for other in taken.values()):
        number += 1
        name = f"{stem}_{number}"
    return name


def _clash(left: str, right: str) -> bool:
    return left == right or left.startswith(right + ".") or right.startswith(left + ".")


def _as_size(number: int, placeholders: Sequence[fx.Node], data: Sequence[int]) -> tuple[int, int] | None:
    """Return the (data position, axis) whose size the number is, by Dynamo's symbols."""
    symbol = placeholders[number].meta.get("example_value")
    if not isinstance(symbol, torch.SymInt):
        return None
    for position in data:
        for axis, size in enumerate(placeholders[position].meta["example_value"].shape):
            if isinstance(size, torch.SymInt) and size.node.expr == symbol.node.expr:
                return position, axis
    return None
