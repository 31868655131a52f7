"""Regions: one for each layer, with a record of what becomes of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, region_name, shape
from l0compile.ir.program import Program
from l0compile.ir.records import ATTENTION_NOTE, AttentionNote, Region
from l0compile.rewrite.fuse.fuse_attention import refusal
from l0compile.rewrite.linear_layers import PRECISIONS, linear_weight, narrow_weight
from l0compile.rewrite.windows import conv_weight, narrow_conv_weight

aten = torch.ops.aten
LINEAR, CONV, ATTENTION, SDPA = "linear", "conv", "attention", aten.scaled_dot_product_attention.default
ATTENTIONS = (torch.ops.l0compile.attention.default, torch.ops.l0compile.block_attention.default)


def record_regions(program: Program) -> Program:
    """Give each linear layer, convolution and attention a region, in which later passes note what becomes of it.

    Rewrite: none; ``node.meta["region"]`` is set on a copy of the graph.
    Checks: linear layers and convolutions have constant weights; a module that is used several times gets ``name``,
        ``name@1``, ...
    Returns: the program with ``regions``; itself when it has them already.
    """
    if program.regions:
        return program
    editor = Editor(program)
    seen: Counter[str] = Counter()
    regions = []
    for node in editor.graph.nodes:
        region = _region(editor, node)
        if region is not None:
            count = seen[region.name]
            seen[region.name] += 1
            region = replace(region, name=f"{region.name}@{count}" if count else region.name)
            node.meta["region"] = region.name
            regions.append(region)
    return replace(program, graph=editor.graph, regions=tuple(regions))


def _region(editor: Editor, node: fx.Node) -> Region | None:
    found = linear_weight(editor, node)
    if found is not None:
        weight = found[0]
        size = (int(weight.shape[0]), int(weight.shape[1]))
        return Region(region_name(node), LINEAR, size, size, density(weight), "dense", None, "")
    narrow = narrow_weight(editor, node)
    if narrow is not None:
        size, precision = (int(narrow.shape[0]), int(narrow.shape[1])), PRECISIONS[narrow.dtype]
        return Region(
            region_name(node), LINEAR, size, size, density(narrow), "dense", None, "", precision=precision
        )
    kernel = conv_weight(editor, node)
    kernel = narrow_conv_weight(editor, node) if kernel is None else kernel
    if kernel is not None:
        extents, precision = tuple(int(extent) for extent in kernel.shape), PRECISIONS[kernel.dtype]
        return Region(
            region_name(node), CONV, extents, extents, density(kernel), "dense", None, "", precision=precision
        )
    if is_op(node, *ATTENTIONS):
        given = arguments(node)
        heads, logarithms = int(given["heads"]), int(given.get("log_sum_exp", False))
        size = (heads, int(shape(node)[-1]) // heads - logarithms)
        written = node.meta.get(ATTENTION_NOTE)
        reason = _window(given["before"], given["after"]) if "before" in given else ""
        reason = written.text if isinstance(written, AttentionNote) else reason
        return Region(region_name(node), ATTENTION, size, size, 1.0, "dense", None, reason)
    if is_op(node, SDPA):
        q = shape(node.args[0])
        size = (_number(q[1]), _number(q[-1])) if len(q) == 4 else (0, 0)
        return Region(
            region_name(node), ATTENTION, size, size, 1.0, "dense", None, f"left as it was: {refusal(node)}"
        )
    written = node.meta.get(ATTENTION_NOTE)
    if isinstance(written, AttentionNote):
        size = (written.heads, written.width)
        return Region(region_name(node), ATTENTION, size, size, 1.0, "dense", None, written.text)
    return None


def _window(before: int | None, after: int | None) -> str:
    """What is said of attention that sees fewer keys than all, or all up to the query."""
    if before is None and after in (None, 0):
        return ""
    limits = (
        "the first" if before is None else f"{before} before",
        "the last" if after is None else f"{after} after",
    )
    return f"a window: a query sees the keys from {limits[0]} to {limits[1]} its position, and the others cost nothing"


def _number(size: object) -> int:
    return size if isinstance(size, int) else 0


def density(weight: Tensor) -> float:
    """The share of nonzero elements; 0 for an empty tensor."""
    return float(torch.count_nonzero(weight)) / weight.numel() if weight.numel() else 0.0


def note(program: Program, reasons: Mapping[str, str]) -> Program:
    """The program with ``reasons``, by name of region, added to its regions."""
    regions = tuple(
        replace(region, reason="; ".join(filter(None, (region.reason, reasons[region.name]))))
        if region.name in reasons and reasons[region.name] not in region.reason
        else region
        for region in program.regions
    )
    return program if regions == program.regions else replace(program, regions=regions)


def region_of(node: fx.Node) -> str:
    """The name of the region that a node was marked with, or its module path."""
    return str(node.meta.get("region") or region_name(node))
