"""Predict what a program takes on a GPU, kernel by kernel, without compiling it."""

from collections import defaultdict
from math import prod
from typing import Any

import torch
from torch import fx

from l0compile.hardware.costs import GpuModel, KernelWorkload, Prediction
from l0compile.hardware.costs.gpu import TWO_OF_FOUR
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, example_size, is_op, shape, tensor
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.ops.attention.multi_head import key_heads
from l0compile.ir.program import Program
from l0compile.rewrite.formats.lists_of_attention import constant_program, listed_shares, workload_of
from l0compile.runtime.account.predicted import PredictedPart, PredictedTime

aten, l0 = torch.ops.aten, torch.ops.l0compile
_LAYERS = {
    aten.linear.default: "float32",
    l0.int8_linear.default: "int8",
    l0.bfloat16_linear.default: "bfloat16",
}
_SPARSE_LAYERS = {
    l0.bsr_linear.default: "float32",
    l0.int8_bsr_linear.default: "int8",
    l0.bfloat16_bsr_linear.default: "bfloat16",
}
_FEATURES_OF_A_WORD = {
    l0.bsr_linear.default: 1,
    l0.bfloat16_bsr_linear.default: 2,
    l0.int8_bsr_linear.default: 4,
}
_HALVES = {torch.float16: "float16", torch.bfloat16: "bfloat16"}


def predict_program(program: Program, model: GpuModel) -> PredictedTime:
    """Predict one call at the sizes of the example inputs.

    Layers and attention are predicted as such, convolutions as the products that they are. Any other operator moves
    its operands and its result through memory, unless it is elementwise and can be computed where its operand is.

    Args:
        program: with a format for each weight, before layouts.
        model: of the card.

    Raises:
        TargetError: the model's target is not a GPU.
    """
    editor, found = Editor(program), defaultdict[str, list[Prediction]](list)
    for node in editor.graph.nodes:
        predicted = _predict(editor, node, model)
        if predicted is not None:
            found[_name(node)].append(predicted)
    if not found:  # its results are constants, which a call still has to write
        found["results"].append(model.moved(sum(map(_bytes, program.results))))
    parts = [_part(name, times) for name, times in found.items()]
    times = [time for each in found.values() for time in each]
    return PredictedTime(
        model.gpu.card, sum(t.low for t in times), sum(t.mid for t in times), sum(t.high for t in times),
        tuple(sorted(parts, key=lambda part: -part.ms)),
    )  # fmt: skip


def _part(name: str, times: list[Prediction]) -> PredictedPart:
    longest = max(times, key=lambda time: time.mid)
    return PredictedPart(name, sum(time.mid for time in times), longest.bound, len(times))


def _name(node: fx.Node) -> str:
    region = node.meta.get("region")
    return str(region) if region else str(node.target).removeprefix("aten.").removesuffix(".default")


def _predict(editor: Editor, node: fx.Node, model: GpuModel) -> Prediction | None:
    """One kernel; None for what is no kernel of its own."""
    if node.op != "call_function":
        return None
    if node.target in _LAYERS or node.target in _SPARSE_LAYERS:
        return _layer(editor, node, model)
    if is_op(node, l0.two_of_four_linear.default):
        return _two_of_four(node, model)
    if is_op(node, l0.attention.default):
        return model.predict(_attention(node))
    if is_op(node, l0.block_attention.default):
        lists = constant_program(editor, node)
        shares = (
            listed_shares(lists, arguments(node)["heads"], int(shape(arguments(node)["k"])[1]))
            if lists
            else [1.0]
        )
        return model.predict(workload_of(node, sum(shares) / len(shares)))
    if facts_of(node).window == "convolution" or is_op(node, l0.bsr_conv2d.default, aten.convolution.default):
        return _convolution(node, model)
    return _ordinary(node, model)


def _two_of_four(node: fx.Node, model: GpuModel) -> Prediction | None:
    given = arguments(node)
    tokens, k = prod(map(example_size, shape(given["x"])[:-1])), example_size(shape(given["x"])[-1])
    dtype = _precision(given["x"], "float32")
    return model.predict(
        KernelWorkload("linear", (given["n"], k), tokens=tokens, variant=TWO_OF_FOUR, dtype=dtype)
    )


def _layer(editor: Editor, node: fx.Node, model: GpuModel) -> Prediction | None:
    given = arguments(node)
    x = given.get("input", given.get("x"))
    tokens = prod(map(example_size, shape(x)[:-1])) if isinstance(x, fx.Node) else 1
    if node.target in _LAYERS:
        n, k = map(example_size, shape(given["weight"]))
        precision = _precision(x, _LAYERS[node.target])
        return model.predict(KernelWorkload("linear", (n, k), tokens=tokens, dtype=precision))
    precision = _precision(x, _SPARSE_LAYERS[node.target])
    n, k = given["n"], given["k"]
    _, words, rows = map(int, shape(given["data"]))
    cols, indptr = words * _FEATURES_OF_A_WORD[node.target], editor.value(given["indptr"])
    assert indptr is not None, "choose_formats stores blocks as constants"
    lengths = indptr.diff().tolist()
    kept = sum(lengths) / (len(lengths) * -(-k // cols))
    return model.predict(
        KernelWorkload("linear", (n, k), (rows, cols), kept, tokens, dtype=precision), lengths
    )


def _precision(x: Any, declared: str) -> str:
    """What a kernel multiplies: numbers of 16 bits as they are, others as the operator declares."""
    value = tensor(x)
    return declared if value is None else _HALVES.get(value.dtype, declared)


def _attention(node: fx.Node) -> KernelWorkload:
    given = arguments(node)
    (batch, queries, q_width), (_, keys, k_width) = (map(example_size, shape(given[name])) for name in "qk")
    heads = int(given["heads"])
    kv = key_heads(q_width, k_width, heads)
    sizes = (heads, kv, q_width // heads, example_size(shape(given["v"])[2]) // kv, queries, keys)
    causal = given["before"] is None and given["after"] == 0
    return KernelWorkload(
        "attention",
        sizes,
        tokens=batch * queries,
        variant="causal" * causal,
        dtype=_precision(given["q"], given["numbers"]),
    )


def _convolution(node: fx.Node, model: GpuModel) -> Prediction | None:
    """As the product [positions, taps] x [taps, channels] that it is."""
    given = arguments(node)
    weight = given["size"] if "size" in given else [example_size(size) for size in shape(given["weight"])]
    batch, channels, *places = map(example_size, shape(node))
    groups = int(given.get("groups", 1))
    work = KernelWorkload(
        "linear", (channels // groups, prod(weight[1:])), tokens=batch * prod(places) * groups
    )
    return model.predict(work)


def _ordinary(node: fx.Node, model: GpuModel) -> Prediction | None:
    facts, result = facts_of(node), tensor(node)
    if result is None or facts.moves in ("reshape", "permute", "part", "repeat") or facts.fills is not None:
        return None
    read = [source for source in node.all_input_nodes if tensor(source) is not None]
    if is_op(node, l0.quantize.default) and _rounded_by_its_layer(node.args[0]):
        return None
    if facts.elementwise and any(len(source.users) == 1 and source.op == "call_function" for source in read):
        return None  # computed where its operand is
    if not any(source.op != "get_attr" for source in read):
        return None
    if facts.moves == "pick" or is_op(node, aten.embedding.default):
        return model.moved(2 * _bytes(node))
    return model.moved(sum(_bytes(each) for each in (node, *read)))


def _rounded_by_its_layer(x: Any) -> bool:
    """Whether what is rounded comes from a layer of integers, whose kernel then rounds it itself."""
    while isinstance(x, fx.Node) and len(x.users) == 1 and facts_of(x).elementwise:
        x = x.args[0]
    return is_op(x, l0.int8_linear.default, l0.int8_bsr_linear.default) and len(x.users) == 1


def _bytes(node: fx.Node) -> float:
    value = tensor(node)
    return 0.0 if value is None else float(prod(map(example_size, value.shape)) * value.element_size())
