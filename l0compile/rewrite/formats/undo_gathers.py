"""Leave dead channels where they are if a block-sparse layer skips them for less than a copy costs."""

from typing import Any

import torch
from torch import Tensor, fx

from l0compile.hardware.targets import Target
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, shape
from l0compile.ir.program import Program
from l0compile.rewrite.compact.gather_channels import WORTH
from l0compile.rewrite.formats.format_choice import choose
from l0compile.rewrite.linear_layers import linear_weight, new_linear
from l0compile.rewrite.regions import note, region_of

aten = torch.ops.aten
SELECT = aten.index_select.default
# Of the dense time: with fewer zeros, measured costs could still choose a dense kernel for the larger layer.
_CLEARLY = 0.5


def undo_gathers(program: Program, target: Target) -> Program:
    """Let a layer that will be block-sparse read and write whole tensors instead of copies of their live channels.

    Rewrite: linear(index_select(x, -1, order), W, b) -> linear(x, W', b), where W' has the columns of W at ``order``
        and zeros elsewhere; index_select(linear(x, W, b), -1, order) + c -> linear(x, W[order], b[order] + c).
    Checks: W, b, c and the order are constants; no input is selected twice; nothing else reads the layer or what is
        selected of it; by the table of the target the layer takes less than half of its dense time in blocks, and no
        more multiplications than the smaller layer with what the copy costs. Not on a GPU, whose kernels read selected
        columns without a copy.
    Returns: the program, itself where nothing is undone. The reason of each layer says so.
    """
    if target.kind == "cuda":
        return program
    editor, reasons = Editor(program), dict[str, str]()
    for node in list(editor.graph.find_nodes(op="call_function", target=aten.linear.default)):
        region = region_of(node)
        for undo, word in ((_inputs, "inputs"), (_outputs, "outputs")):
            changed = undo(editor, node, target)
            if changed is not None:
                node = changed
                earlier = f"{reasons[region]}; " if region in reasons else ""
                reasons[region] = (
                    f"{earlier}dead {word} stay after all: blocks of zeros cost less than a copy"
                )
    return note(editor.finish(), reasons)


def _inputs(editor: Editor, node: fx.Node, target: Target) -> fx.Node | None:
    """The layer that reads what its input was selected from; None where it stays."""
    found, chosen = linear_weight(editor, node), arguments(node)["input"]
    order = _order(editor, chosen)
    if found is None or order is None or len(order.unique()) != len(order):
        return None
    weight, bias = found
    source = chosen.args[0]
    whole = weight.new_zeros(len(weight), int(shape(source)[-1]))
    whole[:, order] = weight
    if not _pays(weight, whole, len(order), target):
        return None
    created = new_linear(editor, node, whole, bias)
    created.update_arg(0, source)
    return created


def _outputs(editor: Editor, node: fx.Node, target: Target) -> fx.Node | None:
    """The layer whose results lie where they were put; None where it stays."""
    found, reader = linear_weight(editor, node), _only_reader(node)
    order = _order(editor, reader)
    if found is None or order is None or reader is None:
        return None
    weight, bias = found
    whole = weight[order]
    if not _pays(weight, whole, len(order), target):
        return None
    bias = None if bias is None else bias[order]
    constants = _added(editor, _only_reader(reader), reader)
    if constants is not None and constants.dtype == whole.dtype:
        reader = next(iter(reader.users))
        bias = constants + (0 if bias is None else bias)
    created = new_linear(editor, node, whole, bias)
    created.meta.pop("val", None)
    editor.replace(reader, created)
    return created


def _only_reader(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _added(editor: Editor, node: fx.Node | None, selected: fx.Node) -> Tensor | None:
    """The constants [size], one for each result, that ``node`` adds to what was selected."""
    if node is None or not is_op(node, aten.add.Tensor) or node.args[0] is not selected or node.kwargs:
        return None
    value, size = editor.value(node.args[1]), shape(selected)[-1]
    return value.reshape(-1) if value is not None and value.numel() == value.shape[-1] == size else None


def _order(editor: Editor, node: Any) -> Tensor | None:
    """The constant order in which an ``index_select`` takes the last axis; None where ``node`` is something else."""
    if not is_op(node, SELECT):
        return None
    x, axis, order = node.args
    return editor.value(order) if axis in (-1, len(shape(x)) - 1) else None


def _pays(small: Tensor, whole: Tensor, copied: int, target: Target) -> bool:
    """Whether ``whole`` is stored in blocks, and multiplies no more than ``small`` and the copy are worth."""
    after, _ = choose(whole, target)
    if after.block is None or after.time > _CLEARLY:
        return False
    before, _ = choose(small, target)
    return after.time * whole.numel() <= before.time * small.numel() + WORTH * copied
