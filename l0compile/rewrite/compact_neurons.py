"""Remove dead channels between linear layers."""

import torch
from torch import Tensor, fx

from l0compile.capture import Editor, Program
from l0compile.capture.nodes import is_static, shape
from l0compile.liveness import Liveness, analyse
from l0compile.rewrite.channel_group import ChannelGroup, channel_group
from l0compile.rewrite.regions import note, region_of
from l0compile.rewrite.surgery import Cut, cut_linear, linear_weight


def compact_neurons(program: Program) -> Program:
    """Feed-forward compaction.

    Rewrite: linear(W1[h, i]) -> pointwise* -> linear(W2[o, h]) with dead channels D ->
        linear(W1[h-D, i]) -> pointwise* -> linear(W2[o, h-D]); what a dead channel always holds is folded into the
        second layer's bias (exactness rules 1, 3, 6). Gated pairs (silu(a) * b) and several readers are one group.
    Checks: every tensor of the group is made by linear layers and pointwise operators and read by linear layers
        only; a channel goes if each reader either does not read it or sees a known constant. Otherwise nothing is
        removed and the region's reason says what stood in the way.
    Returns: the program, itself when no channel was removed.
    """
    editor = Editor(program)
    liveness = analyse(editor.current())
    cuts: dict[fx.Node, Cut] = {}
    reasons: dict[str, str] = {}
    done: set[fx.Node] = set()
    for node in list(editor.graph.nodes):
        source = node.args[0] if linear_weight(editor, node) is not None else None
        if not isinstance(source, fx.Node) or source in done or not is_static(shape(source)[-1]):
            continue
        group = channel_group(editor, source)
        done.update(group.members)
        _plan(editor, group, liveness, cuts, reasons)
    for node, cut in cuts.items():
        cut_linear(editor, node, cut)
    return note(editor.finish(), reasons)


def _plan(
    editor: Editor, group: ChannelGroup, liveness: Liveness, cuts: dict[fx.Node, Cut], reasons: dict[str, str]
) -> None:
    keep = torch.zeros(group.width, dtype=torch.bool)
    for member in group.consumers.values():
        keep |= needed_channels(liveness, member)
    dead = int((~keep).sum())
    if not dead or dead == group.width:
        # All dead: every reader is a constant, which drop_dead writes down.
        return
    if group.obstacle is not None:
        for node in (*group.producers, *group.consumers):
            reasons[region_of(node)] = f"{dead} of {group.width} channels are dead but stay: {group.obstacle}"
        return
    for node in group.producers:
        cuts.setdefault(node, Cut()).rows = keep
        reasons[region_of(node)] = f"{dead} of {group.width} outputs removed"
    for node, member in group.consumers.items():
        cut = cuts.setdefault(node, Cut())
        cut.columns, cut.removed = keep, known_values(liveness, member)
        reasons.setdefault(region_of(node), f"{dead} of {group.width} inputs removed")
    for node, position in group.vectors:
        _cut_vector(editor, node, position, keep)


def needed_channels(liveness: Liveness, node: fx.Node) -> Tensor:
    """bool [channels]: live, or known but not one number everywhere (which no bias can stand for)."""
    fact = liveness.fact(node)
    one_value, _ = fact.last_axis()
    somewhere = fact.known.reshape(-1, fact.known.shape[-1]).any(0)
    return liveness.live_channels(node) | (somewhere & ~one_value)


def known_values(liveness: Liveness, node: fx.Node) -> Tensor:
    """[channels] the constant of each known channel of a tensor, 0 elsewhere."""
    known, value = liveness.fact(node).last_axis()
    width = shape(node)[-1]
    return torch.where(known, value, torch.zeros((), dtype=value.dtype)).expand(width)


def _cut_vector(editor: Editor, node: fx.Node, position: int, keep: Tensor) -> None:
    operand = node.args[position]
    value = editor.value(operand)
    assert isinstance(operand, fx.Node) and value is not None
    node.update_arg(position, editor.add_constant(str(operand.target), value[..., keep], node))
    editor.changed += 1
