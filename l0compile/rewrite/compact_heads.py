"""Remove dead attention heads."""

import torch
from torch import Tensor, fx

from l0compile.capture import Editor, Program
from l0compile.capture.nodes import arguments, is_op, shape
from l0compile.liveness import Liveness, analyse
from l0compile.rewrite.compact_neurons import known_values, needed_channels
from l0compile.rewrite.regions import note, region_of
from l0compile.rewrite.surgery import Cut, cut_linear, linear_weight, reads_as_input


def compact_heads(program: Program) -> Program:
    """Whole heads go, with their query, key and value rows and output columns.

    Rewrite: attention(linear(Wq), linear(Wk), linear(Wv), heads=H) -> linear(Wo) with dead heads D ->
        the same with H-|D| heads, rows of D cut from Wq, Wk, Wv and columns of D from Wo. A head whose values are
        constant gives that constant: it is folded into the output layer's bias (exactness rule 3).
    Checks: a head is dead if each of its results is known or read by nothing; projections are linear layers that
        feed this attention alone; results are read by linear layers only. Otherwise the reason is recorded.
    Returns: the program, itself when no head was removed. (All heads dead is a constant: drop_dead's business.)
    """
    editor = Editor(program)
    liveness = analyse(editor.current())
    cuts: dict[fx.Node, Cut] = {}
    reasons: dict[str, str] = {}
    for node in list(editor.graph.nodes):
        if is_op(node, torch.ops.l0compile.attention.default):
            heads = arguments(node)["heads"]
            live = needed_channels(liveness, node).reshape(heads, -1).any(1)
            if 0 < int(live.sum()) < heads:
                _plan(editor, node, live, liveness, cuts, reasons)
    for node, cut in cuts.items():
        cut_linear(editor, node, cut)
    return note(editor.finish(), reasons)


def _plan(
    editor: Editor,
    node: fx.Node,
    live: Tensor,
    liveness: Liveness,
    cuts: dict[fx.Node, Cut],
    reasons: dict[str, str],
) -> None:
    given = arguments(node)
    dead = f"{int((~live).sum())} of {len(live)} heads"
    obstacle = _obstacle(editor, node, given)
    if obstacle is not None:
        reasons[region_of(node)] = f"{dead} are dead but stay: {obstacle}"
        return
    results = live.repeat_interleave(shape(node)[-1] // len(live))
    for name in ("q", "k", "v"):
        rows = live.repeat_interleave(shape(given[name])[-1] // len(live))
        cuts.setdefault(given[name], Cut()).rows = rows
        reasons[region_of(given[name])] = f"rows of {dead} removed"
    for user in node.users:
        cut = cuts.setdefault(user, Cut())
        cut.columns, cut.removed = results, known_values(liveness, node)
        reasons[region_of(user)] = f"columns of {dead} removed"
    node.update_arg(4, int(live.sum()))
    reasons[region_of(node)] = f"{dead} removed"
    editor.changed += 1


def _obstacle(editor: Editor, node: fx.Node, given: dict[str, fx.Node]) -> str | None:
    if shape(given["q"])[-1] != shape(given["k"])[-1]:
        return "its key and value heads are shared between query heads (rule 8)"
    for name in ("q", "k", "v"):
        if linear_weight(editor, given[name]) is None:
            return f"its {name} is not a linear layer with constant weights but {given[name].target}"
        if set(given[name].users) != {node}:
            return f"its {name} projection has other readers (rule 7)"
    for user in node.users:
        if not reads_as_input(editor, user, node):
            return f"its result is read by {user.target} (rules 4 and 7)"
    return None
