"""Remove the channels that liveness and coupling let go."""

from collections.abc import Iterator
from typing import Any

from torch import fx

from l0compile.analysis.coupling import KeptChannels, TensorAxis, couple
from l0compile.analysis.liveness import analyse
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, shape, tensor
from l0compile.ir.program import Program
from l0compile.rewrite.compact import shrink_narrow as _shrink_narrow  # noqa: F401  (each fills its part of the table)
from l0compile.rewrite.compact import shrink_norms as _shrink_norms  # noqa: F401
from l0compile.rewrite.compact import shrink_sums as _shrink_sums  # noqa: F401
from l0compile.rewrite.compact.shrink import Cutter, shrink
from l0compile.rewrite.regions import ATTENTIONS, note, region_of


def compact(program: Program) -> Program:
    """Remove the channels, heads and groups that cannot matter, through the whole graph.

    Rewrite: every constant loses the channels of its axes that :func:`l0compile.analysis.coupling.couple` lets go, and
        so does every tensor made from it; literal sizes, bounds and head counts follow. The constant that a removed
        channel held is folded into the next bias (rules 1, 3, 6), or into the statistics of a norm or mean, which keep
        their original width (rule 4).
    Checks: coupled axes lose the same channels (rule 7); a constant with several readers is cut separately for each of
        them (rule 8); an operator without a coupling rule keeps all channels of its operands and results. The reason
        of a region says what keeps its dead channels.
    Returns: the program, itself when no channel was removed.
    """
    editor = Editor(program)
    _one_reader_each(editor)
    current = editor.current()
    liveness = analyse(current)
    kept = couple(current, liveness)
    cutter = Cutter(editor, kept, liveness)
    reasons = dict(_reasons(editor, kept))
    for node in list(editor.graph.nodes):
        if node.op == "call_function" and cutter.touches(node):
            shrink(cutter, node)
    _cut_constants(cutter)
    return note(editor.finish(), reasons)


def _one_reader_each(editor: Editor) -> None:
    """Give every use of a constant its own node; the nodes still share the tensor."""
    for node in list(editor.graph.find_nodes(op="get_attr")):
        for user in list(node.users)[1:]:
            user.replace_input_with(node, _copy(editor, node))
        user = next(iter(node.users), None)
        if user is not None:
            _split_uses(editor, node, user)


def _split_uses(editor: Editor, node: fx.Node, user: fx.Node) -> None:
    """Give both operands of add(w, w) their own node."""
    seen = False

    def own(operand: fx.Node) -> fx.Node:
        nonlocal seen
        if operand is not node or not seen:
            seen = seen or operand is node
            return operand
        return _copy(editor, node)

    user.args = fx.map_arg(user.args, own)
    user.kwargs = fx.map_arg(user.kwargs, own)


def _copy(editor: Editor, node: fx.Node) -> fx.Node:
    with editor.graph.inserting_after(node):
        copy = editor.graph.create_node("get_attr", node.target)
    copy.meta = dict(node.meta)
    return copy


def _cut_constants(cutter: Cutter) -> None:
    editor = cutter.editor
    made: dict[
        tuple[Any, ...], str
    ] = {}  # by source and masks: tied weights that lose the same channels stay tied
    for node in list(editor.graph.find_nodes(op="get_attr")):
        masks = cutter.masks(node)
        if not masks or not node.users:
            continue
        key = (str(node.target), *((axis, bytes(mask.numpy())) for axis, mask in masks.items()))
        if key not in made:
            value = editor.constants[str(node.target)]
            for axis, mask in masks.items():
                value = value.index_select(axis, mask.nonzero().reshape(-1))
            created = editor.add_constant(str(node.target), value, node)
            made[key] = str(created.target)
            editor.graph.erase_node(created)
        node.target = made[key]
        node.meta = {}
        editor.changed += 1


def _reasons(editor: Editor, kept: KeptChannels) -> Iterator[tuple[str, str]]:
    for node in editor.graph.nodes:
        if "region" in node.meta:
            texts = [text for side in _sides(node) for text in _fate(kept, *side)]
            if texts:
                yield region_of(node), "; ".join(texts)


def _sides(node: fx.Node) -> list[tuple[TensorAxis, str, int]]:
    """(axis, word for its features, width of one) of the feature axes of a region's result and input."""
    result = shape(node)
    given = arguments(node)
    if is_op(node, *ATTENTIONS):
        return [((node, len(result) - 1), "heads", result[-1] // given["heads"])]
    x = given.get("input", given.get("x"))
    if tensor(x) is None:
        return [((node, 1), "heads", 1)] if "query" in given else []
    feature = 1 if "groups" in given or "dilation" in given else -1
    return [((node, feature % len(result)), "outputs", 1), ((x, feature % len(shape(x))), "inputs", 1)]


def _fate(kept: KeptChannels, axis: TensorAxis, word: str, width: int) -> Iterator[str]:
    mask = kept.masks.get(axis)
    if mask is None:
        return
    gone = int((~mask).sum())
    if gone:
        yield f"{gone // width} of {len(mask) // width} {word} removed"
    obstacle = kept.obstacle(axis)
    if obstacle is not None:
        number, why = obstacle
        channels = word if width == 1 else "head channels"
        yield f"{number} of {len(mask)} {channels} are dead but stay: {why}"
