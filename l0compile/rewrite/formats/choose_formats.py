"""Choose how the weight of each linear layer and convolution is stored: dense or block-sparse."""

from collections import Counter
from dataclasses import replace
from math import prod

import torch
from torch import Tensor, fx

from l0compile.hardware.costs import Costs
from l0compile.hardware.targets import Target
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, example_size, is_op, set_argument, shape
from l0compile.ir.ops.bsr import to_blocks
from l0compile.ir.ops.int8_conv import conv_matrix, without_groups
from l0compile.ir.ops.two_of_four import to_two_of_four
from l0compile.ir.ops.words import features_of, word_blocks
from l0compile.ir.program import Program
from l0compile.ir.records import ATTENTION_NOTE, Format, Region
from l0compile.rewrite.formats.format_choice import (
    FormatChoice,
    Layers,
    choose,
    for_words,
    told_of_instructions,
    type_name,
)
from l0compile.rewrite.formats.lists_of_attention import constant_program, listed_shares
from l0compile.rewrite.formats.winograd import dense_time
from l0compile.rewrite.linear_layers import PRECISIONS, linear_weight, narrow_weight
from l0compile.rewrite.regions import ATTENTIONS, CONV, LINEAR, SDPA, region_of
from l0compile.rewrite.windows import Window, conv_weight, narrow_conv_weight, window_of

_HAS_REGION = (
    torch.ops.l0compile.bsr_linear.default, torch.ops.l0compile.bsr_conv2d.default,
    torch.ops.l0compile.int8_linear.default, torch.ops.l0compile.int8_bsr_linear.default,
    torch.ops.l0compile.int8_bsr_conv2d.default,
    torch.ops.l0compile.bfloat16_linear.default, torch.ops.l0compile.bfloat16_bsr_linear.default,
    torch.ops.l0compile.two_of_four_linear.default,
    *ATTENTIONS, SDPA,
)  # fmt: skip


LISTED = torch.ops.l0compile.block_attention.default
_HEADS_TOLD = 16


def choose_formats(program: Program, target: Target, costs: Costs | None = None) -> Program:
    """Store each weight dense or in blocks, whichever the kernels of the device compute faster.

    Rewrite: linear(x, W, b) -> l0compile::bsr_linear(x, blocks of W, b) for the legal block shape of least time. Where
        ``costs`` tell, that is the time at the sizes of the example inputs; else it is predicted by the table of the
        target, as kept blocks * block size / weight size / efficiency(block). A convolution likewise, by the table,
        with its weight as a matrix [out channels, in channels * taps]: -> l0compile::bsr_conv2d. A layer of int8 or
        bfloat16 numbers likewise, in blocks whose columns are whole words: -> int8_bsr_linear, bfloat16_bsr_linear. A
        convolution of int8 numbers, whose words are four channels at one tap: -> int8_bsr_conv2d; one of several
        groups is one with zeros outside of them. A layer of 16-bit numbers on a GPU that has at most two nonzero ones
        in each four neighbours of a row -> l0compile::two_of_four_linear, where that is predicted to be faster yet.
    Checks: W is a constant of float32, or of these, or of a floating type that the GPU's kernels take; the time is at
        most 0.95 of that of a dense W.

    Args:
        program: whose weights are dense.
        target: has the legal block shapes and their efficiencies.
        costs: what kernels take on the target; None where nothing is known.

    Returns:
        The program with block-sparse layers and with ``regions`` completed, also for layers that are gone.
    """
    editor = Editor(program)
    regions = {region.name: region for region in program.regions}
    present: set[str] = set()
    layers: list[Layers] = []
    for node in list(editor.graph.nodes):
        name = region_of(node)
        found = linear_weight(editor, node)
        if found is not None:
            if costs:
                # CPUs widen numbers of 16 bits in such a layer; a GPU multiplies them as they are.
                dtype = type_name(found[0]) if target.kind == "cuda" else "float32"
                layers.append(Layers(costs, prod(map(example_size, shape(node)[:-1])), dtype))
            choice, reason = choose(found[0], target, layers[-1] if costs else None)
            before = regions.get(name) or _fresh(name, LINEAR, found[0])
            regions[name] = _record(before, found[0], choice, reason, layers[-1] if costs else None)
            if choice.two_of_four:
                _make_two_of_four(editor, node, found[0])
            elif choice.block is not None:
                _make_sparse(editor, node, found[0], choice.block)
        elif (narrow := narrow_weight(editor, node)) is not None:
            _narrow_layer(editor, node, narrow, regions, target, costs)
            present.add(name)
        elif (kernel := conv_weight(editor, node)) is not None:
            _conv(editor, node, kernel, regions, target)
            present.add(name)
        elif (kernel := narrow_conv_weight(editor, node)) is not None:
            _narrow_conv(editor, node, kernel, regions, target)
            present.add(name)
        elif is_op(node, *ATTENTIONS) and name in regions:
            regions[name] = _listed(editor, node, _attention(regions[name], arguments(node)["heads"]))
        if found is not None or is_op(node, *_HAS_REGION) or ATTENTION_NOTE in node.meta:
            present.add(name)
    result = editor.finish()
    usual = Counter(layers).most_common(1)[0][0] if layers else None
    final = tuple(region if name in present else _dropped(region, usual) for name, region in regions.items())
    return result if final == program.regions else replace(result, regions=final)


def _narrow_layer(
    editor: Editor,
    node: fx.Node,
    weight: Tensor,
    regions: dict[str, Region],
    target: Target,
    costs: Costs | None,
) -> None:
    name, precision = region_of(node), PRECISIONS[weight.dtype]
    layer = Layers(costs, prod(map(example_size, shape(node)[:-1])), precision) if costs else None
    choice, reason = choose(weight, for_words(target, features_of(weight.dtype)), layer)
    reason = told_of_instructions(target, precision, reason)
    before = regions.get(name) or replace(_fresh(name, LINEAR, weight), precision=precision)
    regions[name] = _record(before, weight, choice, reason, layer)
    if choice.block is not None:
        _make_sparse_words(editor, node, weight, choice.block)


def _make_sparse(editor: Editor, node: fx.Node, weight: Tensor, block: tuple[int, int]) -> None:
    given = arguments(node)
    stem = str(given["weight"].target)
    names = ("blocks", "indices", "indptr")
    parts = zip(names, to_blocks(weight, *block), strict=True)
    constants = [editor.add_constant(f"{stem}_{name}", part, node) for name, part in parts]
    args = (given["input"], *constants, given["bias"], int(weight.shape[0]), int(weight.shape[1]))
    editor.replace(node, editor.call(torch.ops.l0compile.bsr_linear.default, args, before=node, origin=node))


def _make_two_of_four(editor: Editor, node: fx.Node, weight: Tensor) -> None:
    given = arguments(node)
    parts = zip(("kept", "places"), to_two_of_four(weight), strict=True)
    constants = [editor.add_constant(f"{given['weight'].target}_{name}", part, node) for name, part in parts]
    args = (given["input"], *constants, given["bias"], None, int(weight.shape[0]), "")
    editor.replace(
        node, editor.call(torch.ops.l0compile.two_of_four_linear.default, args, before=node, origin=node)
    )


def _make_sparse_words(editor: Editor, node: fx.Node, weight: Tensor, block: tuple[int, int]) -> None:
    """Blocks of a weight of narrow numbers; the operator takes the other arguments of the dense one."""
    x, weight_node, *others = arguments(node).values()
    integers = weight.dtype == torch.int8
    operator = "int8_bsr_linear" if integers else "bfloat16_bsr_linear"
    *others, start = others if integers else (*others, None)
    parts = zip(("blocks", "indices", "indptr"), word_blocks(weight, *block), strict=True)
    constants = [editor.add_constant(f"{weight_node.target}_{name}", part, node) for name, part in parts]
    args = (x, *constants, *others, *map(int, weight.shape), *([start] if integers else ()))
    target = getattr(torch.ops.l0compile, operator).default
    editor.replace(node, editor.call(target, args, before=node, origin=node))


def _conv(editor: Editor, node: fx.Node, weight: Tensor, regions: dict[str, Region], target: Target) -> None:
    name, matrix = region_of(node), weight.flatten(1)
    choice, reason = FormatChoice(None, 1.0, 1.0), ""
    window = window_of(node)
    if arguments(node)["groups"] != 1:
        reason = "dense: block-sparse convolutions have one group"
    elif window is None:
        reason = "dense: block-sparse convolutions want an image of known size, padded alike on both sides"
    else:
        dense = dense_time(window, weight.shape[1], weight.shape[0])
        choice, reason = choose(matrix, replace(target, blocks=conv_blocks(target)), dense_time=dense)
    if choice.block is not None and window is not None:
        _make_sparse_conv(editor, node, weight, choice.block, window)
    regions[name] = _record(regions.get(name) or _fresh(name, CONV, weight), weight, choice, reason)


def _narrow_conv(
    editor: Editor, node: fx.Node, weight: Tensor, regions: dict[str, Region], target: Target
) -> None:
    name, features, groups = region_of(node), features_of(weight.dtype), arguments(node)["groups"]
    whole = weight if groups == 1 else without_groups(weight, groups)
    matrix = conv_matrix(whole)
    choice, reason = FormatChoice(None, 1.0, 1.0), ""
    if window_of(node) is None:
        reason = "dense: block-sparse convolutions want a batch of images of known size"
    else:
        choice, reason = choose(matrix, for_words(replace(target, blocks=conv_blocks(target)), features))
    if choice.block is not None:
        x, weight_node, *others = arguments(node).values()
        parts = zip(("blocks", "indices", "indptr"), word_blocks(matrix, *choice.block), strict=True)
        constants = [
            editor.add_constant(f"{weight_node.target}_{part}", value, node) for part, value in parts
        ]
        scale, bias, zero_point, *steps, _ = others
        args = (x, *constants, scale, bias, zero_point, [int(extent) for extent in whole.shape], *steps)
        operator = torch.ops.l0compile.int8_bsr_conv2d.default
        editor.replace(node, editor.call(operator, args, before=node, origin=node))
    elif groups != 1 and window_of(node) is not None:
        wide = editor.add_constant(f"{arguments(node)['weight'].target}_ungrouped", whole, node)
        set_argument(node, "weight", wide)
        set_argument(node, "groups", 1)
        editor.changed += 1
    reason = told_of_instructions(target, PRECISIONS[weight.dtype], reason)
    before = regions.get(name) or replace(_fresh(name, CONV, weight), precision=PRECISIONS[weight.dtype])
    regions[name] = _record(before, weight, choice, reason)


def conv_blocks(target: Target) -> tuple[tuple[int, int], ...]:
    """The block shapes of a target that convolutions have kernels for.

    Taller or wider ones add nothing: any pattern of them is a pattern of 4x1 blocks, at the same speed.
    """
    return tuple((rows, cols) for rows, cols in target.blocks if rows <= 4 and cols == 1)


def _make_sparse_conv(
    editor: Editor, node: fx.Node, weight: Tensor, block: tuple[int, int], window: Window
) -> None:
    given = arguments(node)
    stem, rank = str(given["weight"].target), weight.ndim - 2
    names = ("blocks", "indices", "indptr")
    parts = zip(names, to_blocks(weight.flatten(1), *block), strict=True)
    constants = [editor.add_constant(f"{stem}_{name}", part, node) for name, part in parts]
    steps = [list(pair[2 - rank :]) for pair in (window.stride, window.padding, window.dilation)]
    args = (given["input"], *constants, given["bias"], [int(extent) for extent in weight.shape], *steps)
    editor.replace(node, editor.call(torch.ops.l0compile.bsr_conv2d.default, args, before=node, origin=node))


def _fresh(name: str, kind: str, weight: Tensor) -> Region:
    extents = tuple(int(extent) for extent in weight.shape)
    return Region(name, kind, extents, extents, 1.0, "dense", None, "")


def _record(
    before: Region, weight: Tensor, choice: FormatChoice, reason: str, layers: Layers | None = None
) -> Region:
    after = tuple(int(extent) for extent in weight.shape)
    smaller = after != before.shape_before
    text = before.reason if reason in before.reason else "; ".join(filter(None, (before.reason, reason)))
    form: Format = (
        "2:4" if choice.two_of_four else "bsr" if choice.block else ("compact" if smaller else "dense")
    )
    predicted = choice.time * weight.numel() / max(1, prod(before.shape_before))
    uncut = layers.dense_ms(before.shape_before) if layers else None
    dense = layers.dense_ms(after) if layers else None
    if uncut and dense:
        predicted = choice.time * dense / uncut
    return replace(
        before,
        shape_after=after,
        format=form,
        block=choice.block,
        reason=text,
        predicted=predicted,
        dense_ms=uncut,
    )


def _attention(region: Region, heads: int) -> Region:
    whole = heads == region.shape_before[0]
    reason = region.reason or ("all heads are read" if whole else "")
    shape_after = (heads, region.shape_before[1])
    return replace(region, shape_after=shape_after, format="dense" if whole else "compact", reason=reason)


def _listed(editor: Editor, node: fx.Node, region: Region) -> Region:
    """The region of an attention to listed keys: what share of the keys each head reads."""
    if not is_op(node, LISTED):
        return region
    lists, noted = constant_program(editor, node), ATTENTION_NOTE in node.meta
    if lists is None:
        text = "rows of queries list their keys, which are chosen in each call"
        return region if noted else replace(region, reason=f"{text}; {region.reason}".rstrip("; "))
    shares = listed_shares(lists, arguments(node)["heads"], int(shape(arguments(node)["k"])[1]))
    density = sum(shares) / len(shares)
    if noted:
        return replace(region, density=density)
    told = ", ".join(f"{100 * share:.0f}" for share in shares[:_HEADS_TOLD])
    more = ", ..." if len(shares) > _HEADS_TOLD else ""
    each = (
        f"{told}{more} % of all keys by head"
        if len(set(shares)) > 1
        else f"{100 * shares[0]:.0f} % of all keys"
    )
    text = f"rows of {lists.q_block} queries list their keys in blocks of {lists.k_block}: {each}"
    return replace(region, density=density, reason=f"{text}; {region.reason}".rstrip("; "))


def _dropped(region: Region, usual: Layers | None) -> Region:
    """The region of a layer that is gone; its cost is taken from the ``usual`` layer, since its own cannot be told."""
    if region.format == "dropped" or region.block:
        return region
    reason = "; ".join(
        filter(None, (region.reason, "dropped: its result is constant or nothing reads it (rules 5 and 6)"))
    )
    dense_ms = usual.dense_ms(region.shape_before) if usual and region.kind == LINEAR else None
    nothing = (0,) * len(region.shape_before)
    return replace(region, shape_after=nothing, format="dropped", reason=reason, dense_ms=dense_ms)
