"""assign_planes: convolutions and what lies between them run on planes, packed only where such a part begins."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, follower, is_op, same_shape, shape, tensor
from l0compile.ir.ops.bsr import dense_blocks, nonzero_blocks, to_blocks
from l0compile.ir.ops.planes import Planes
from l0compile.ir.program import Program
from l0compile.rewrite.formats.winograd import readable, winograd_height, winograd_layout, winograd_weight
from l0compile.rewrite.layout.plane_operands import order_of, plane_constant, scale_and_shift
from l0compile.rewrite.layout.transposed_conv import TAPS
from l0compile.rewrite.sliding import CONVOLUTIONS, Sliding, conv_weight, layouts, sliding

aten, l0 = torch.ops.aten, torch.ops.l0compile

# Elementwise functions with f(0) = 0: the zeros around the pixels stay.
_UNARY = {
    aten.relu.default, aten.silu.default, aten.tanh.default, aten.gelu.default, aten.hardswish.default,
    aten.neg.default, aten.abs.default, aten.relu6.default, aten.leaky_relu.default,
}  # fmt: skip
_NOT_NEGATIVE = (aten.relu.default, aten.relu6.default, aten.sigmoid.default, aten.abs.default)


def assign_planes(program: Program, rows: int) -> Program:
    """Rewrite: conv(x) -> image(packed_conv2d(planes(x))); planes(image(y)) -> y; pooling over windows, elementwise
    operators, concatenation of channels and the mean of an image likewise, where an operand is in planes already.
    A dense 3x3 convolution that is quicker by Winograd becomes image(packed_winograd(winograd_planes(planes(x)))).

    Checks: float32, constant weights, channels, height and width known; elementwise functions map 0 to 0 (the border
    stays zero); a maximum whose windows reach out of the image reads a copy with minus infinity around it, unless it is
    of what is not negative. Whatever does not fit stays an image.

    Args:
        rows: block rows that dense weights are stored with (the microkernel's height).
    Returns: the program with ``l0compile::copy_planes`` only at the edges, and where a stride cuts an image in phases.
    """
    pass_ = _Planes(Editor(program), rows)
    for node in list(pass_.editor.graph.nodes):
        if node.op == "call_function":
            pass_.visit(node)
    pass_.back_to_images()
    return pass_.editor.finish()


class _Planes:
    """State of one run: the layout of each image size, and the values that exist in planes."""

    def __init__(self, editor: Editor, rows: int) -> None:
        self.editor, self.rows = editor, rows
        self.windows = {
            node: found for node in editor.graph.nodes if (found := sliding(node)) and self._fits(node, found)
        }
        self.layouts = layouts(list(self.windows.values()))
        self.packed: dict[fx.Node, fx.Node] = {}
        self.made: dict[Any, fx.Node] = {}
        self.rules: dict[Any, Callable[[fx.Node], fx.Node | None]] = {
            **dict.fromkeys((*CONVOLUTIONS, l0.bsr_conv2d.default), self._conv),
            **dict.fromkeys((aten.max_pool1d.default, aten.max_pool2d.default), self._max_pool),
            **dict.fromkeys((aten.avg_pool1d.default, aten.avg_pool2d.default), self._average_pool),
            **dict.fromkeys(_UNARY, self._unary),
            aten.hardtanh.default: self._clamp,
            aten.clamp.default: self._clamp,
            aten.prelu.default: self._prelu,
            aten.add.Tensor: self._binary,
            aten.sub.Tensor: self._binary,
            aten.mul.Tensor: self._binary,
            aten.cat.default: self._concatenate,
            aten.index_select.default: self._select,
            aten.adaptive_avg_pool2d.default: self._mean,
            aten.mean.dim: self._mean,
        }

    def visit(self, node: fx.Node) -> None:
        rule = self.rules.get(node.target)
        result = rule(node) if rule is not None else None
        if result is not None:
            self.packed[node] = result
            self.editor.changed += 1

    def back_to_images(self) -> None:
        """Give every reader of images its image back."""
        for node, packed in self.packed.items():
            readers = [user for user in node.users if user not in self.packed]
            if not readers:
                continue
            planes, size = self.layouts[_size(node)], _size(node)
            flat = Planes.rows(*size)
            args = (packed, planes.numbers(), flat.numbers(), [1, 1], [0, 0])
            image = self.editor.call(l0.copy_planes.default, args, before=packed.next, origin=node)
            if len(shape(node)) == 4:
                image = self.editor.call(
                    aten.unflatten.int, (image, 2, list(size)), before=image.next, origin=node
                )
            for user in readers:
                user.replace_input_with(node, image)

    def _fits(self, node: fx.Node, window: Sliding) -> bool:
        given = arguments(node)
        if node.target in CONVOLUTIONS:
            return conv_weight(self.editor, node) is not None
        if node.target == l0.bsr_conv2d.default:
            return True
        if node.target in (aten.max_pool1d.default, aten.max_pool2d.default):
            return True
        counted = window.padding == (0, 0) or given["count_include_pad"]
        whole = not (window.ceil and window.reaches_out)
        return counted and whole and given.get("divisor_override") is None

    def _planes(self, value: fx.Node, before: fx.Node) -> fx.Node:
        """``value`` in the layout of its size."""
        if value in self.packed:
            return self.packed[value]
        return self._copy(value, self.layouts[_size(value)], (1, 1), ((0, 0),), before)

    def _copy(
        self,
        value: fx.Node,
        result: Planes,
        step: tuple[int, int],
        phases: tuple[tuple[int, int], ...],
        origin: fx.Node,
        lowest: bool = False,
    ) -> fx.Node:
        key = (value, result, step, phases, lowest)
        if key not in self.made:
            x, source = self.packed.get(value), self.layouts.get(_size(value))
            if x is None or source is None:
                x, source = value, Planes.rows(*_size(value))
                if len(shape(value)) == 4:
                    x = self.editor.call(
                        aten.flatten.using_ints, (value, 2), before=follower(value), origin=origin
                    )
            flat = [place for phase in phases for place in phase]
            args = (x, source.numbers(), result.numbers(), list(step), flat, *([True] if lowest else []))
            self.made[key] = self.editor.call(l0.copy_planes.default, args, before=follower(x), origin=origin)
        return self.made[key]

    def _read(self, node: fx.Node, lowest: bool = False) -> tuple[fx.Node, list[int], Planes, Planes]:
        """The input as the window wants it: (value, place of each tap, its layout, layout of the result).

        lowest: what lies around the image must be minus infinity.
        """
        window, x = self.windows[node], node.args[0]
        assert isinstance(x, fx.Node)
        result = self.layouts[window.result]
        if window.keeps_size and not lowest:
            return self._planes(x, node), window.places(result, 0), result, result
        source = window.source(result.pitch)
        value = self._copy(x, source, window.stride, window.phases, node, lowest)
        return value, window.places(source, int(shape(x)[1])), source, result

    def _conv(self, node: fx.Node) -> fx.Node | None:
        if node not in self.windows:
            return None
        given = arguments(node)
        x, places, source, result = self._read(node)
        if node.target == l0.bsr_conv2d.default:
            data, indices, indptr = (given[name] for name in ("data", "indices", "indptr"))
            n, channels, columns = given["weight"][0], given["weight"][1], self.editor.value(indices)
            stem = str(data.target)
        else:
            weight = self.editor.value(given["weight"])
            assert weight is not None
            groups, stem, n = given.get("groups", 1), str(given["weight"].target), weight.shape[0]
            channels = weight.shape[1] * groups
            if groups == channels == n:
                return self._depthwise(node, weight, x, places, result)
            gaps = groups > 1 or TAPS in node.meta
            if not gaps and (call := self._winograd(node, weight, x, source, result)) is not None:
                return call
            if gaps:
                matrix = _ungrouped(weight, groups) if groups > 1 else weight.flatten(1)
                taps = node.meta.get(TAPS)
                live = None if taps is None else nonzero_blocks(taps.flatten(1), self.rows, 1)
                blocks, columns, starts = to_blocks(matrix, self.rows, 1, live)
                indptr = self.editor.add_constant(f"{stem}_indptr", starts, node)
            else:
                blocks, columns, indptr = dense_blocks(weight.flatten(1), self.rows), None, None
            data = self.editor.add_constant(f"{stem}_planes", blocks, node)
        tap, order = torch.tensor(places), torch.arange(channels)
        selected = order_of(self.editor, node.args[0])
        once = selected is not None and len(selected[1].unique()) == len(selected[1])
        if once and selected is not None and selected[0] in self.packed and self.windows[node].keeps_size:
            # The channels are read where they are: nothing is copied. (Offsets of columns differ by definition.)
            x, order = self.packed[selected[0]], selected[1]
        offsets = (order[:, None] * source.size + tap).flatten()
        offsets = offsets if columns is None else offsets[columns.long()]
        table = self.editor.add_constant(f"{stem}_offsets", offsets.to(torch.int32), node)
        args = (x, data, table, indptr, given["bias"], None, n, result.numbers(), "")
        return self.editor.call(l0.packed_conv2d.default, args, before=node)

    def _winograd(
        self, node: fx.Node, weight: Tensor, x: fx.Node, source: Planes, result: Planes
    ) -> fx.Node | None:
        """A dense 3x3 convolution with fewer products, where that pays."""
        n, channels = weight.shape[:2]
        m = winograd_height(self.windows[node], channels, n)
        if m is None or not readable(source):
            return None
        given, layout = arguments(node), winograd_layout(source, m)
        if (key := (x, m)) not in self.made:
            seen = (x, source.numbers(), layout.numbers(), m)
            self.made[key] = self.editor.call(l0.winograd_planes.default, seen, before=node)
        stem = str(given["weight"].target)
        names, parts = ("winograd", "winograd_offsets"), winograd_weight(weight, layout, m, self.rows)
        data, table = (
            self.editor.add_constant(f"{stem}_{name}", part, node)
            for name, part in zip(names, parts, strict=True)
        )
        args = (
            self.made[key],
            data,
            table,
            given["bias"],
            None,
            n,
            layout.numbers(),
            result.numbers(),
            m,
            "",
        )
        return self.editor.call(l0.packed_winograd.default, args, before=node)

    def _depthwise(
        self, node: fx.Node, weight: Tensor, x: fx.Node, places: list[int], result: Planes
    ) -> fx.Node:
        given = arguments(node)
        data = self.editor.add_constant(f"{given['weight'].target}_planes", weight.flatten(1), node)
        args = (x, data, given["bias"], weight.shape[0], places, result.numbers(), "")
        return self.editor.call(l0.packed_window.default, args, before=node)

    def _max_pool(self, node: fx.Node) -> fx.Node | None:
        return self._pool(node, None)

    def _average_pool(self, node: fx.Node) -> fx.Node | None:
        if node not in self.windows:
            return None
        taps = len(self.windows[node].taps)
        return self._pool(node, torch.full((int(shape(node)[1]), taps), 1.0 / taps))

    def _pool(self, node: fx.Node, weight: Tensor | None) -> fx.Node | None:
        if node not in self.windows or node.args[0] not in self.packed:
            return None
        lowest = weight is None and self.windows[node].reaches_out and not _not_negative(node.args[0])
        x, places, _, result = self._read(node, lowest)
        data = None if weight is None else self.editor.add_constant(f"{node.name}_weight", weight, node)
        args = (x, data, None, int(shape(node)[1]), places, result.numbers(), "")
        return self.editor.call(l0.packed_window.default, args, before=node)

    def _unary(self, node: fx.Node) -> fx.Node | None:
        x = node.args[0]
        if x not in self.packed:
            return None
        args = (self.packed[x], *node.args[1:])
        return self.editor.call(node.target, args, before=node, kwargs=node.kwargs)

    def _prelu(self, node: fx.Node) -> fx.Node | None:
        """A slope for each channel; one for all of them becomes as many."""
        x, slope = node.args[0], self.editor.value(node.args[1])
        if x not in self.packed or slope is None or slope.dtype != torch.float32:
            return None
        slopes = self.editor.add_constant(
            f"{node.name}_slope", slope.expand(int(shape(node)[1])).contiguous(), node
        )
        return self.editor.call(aten.prelu.default, (self.packed[x], slopes), before=node)

    def _clamp(self, node: fx.Node) -> fx.Node | None:
        given = list(arguments(node).values())
        low, high = given[1:3]
        keeps_zero = (low is None or low <= 0) and (high is None or high >= 0)
        return self._unary(node) if keeps_zero else None

    def _binary(self, node: fx.Node) -> fx.Node | None:
        affine = scale_and_shift(self.editor, node)
        if affine is not None and affine[0] in self.packed:
            return self._affine(node, *affine)
        if not any(argument in self.packed for argument in node.args[:2]):
            return None
        operands = tuple(self._operand(argument, node) for argument in node.args[:2])
        if None in operands:
            return None
        return self.editor.call(node.target, operands, before=node, kwargs=node.kwargs)

    def _affine(self, node: fx.Node, x: fx.Node, scale: Tensor, shift: Tensor) -> fx.Node:
        """A scale and a shift for each channel: a window of one tap."""
        planes = self.layouts[_size(x)]
        weight = self.editor.add_constant(f"{node.name}_scale", scale, node)
        bias = self.editor.add_constant(f"{node.name}_shift", shift, node)
        args = (self.packed[x], weight, bias, len(shift), [planes.lead], planes.numbers(), "")
        return self.editor.call(l0.packed_window.default, args, before=node)

    def _select(self, node: fx.Node) -> fx.Node | None:
        """Channels in another order."""
        found = order_of(self.editor, node)
        if found is None or found[0] not in self.packed:
            return None
        return self.editor.call(node.target, (self.packed[found[0]], *node.args[1:]), before=node)

    def _operand(self, value: Any, node: fx.Node) -> Any:
        """An operand for planes: an image of the result's size, or a factor per image and channel."""
        product = node.target == aten.mul.Tensor
        if isinstance(value, (int, float)):
            return value if product else None
        if value in self.packed and same_shape(shape(value), shape(node)):
            return self.packed[value]
        other = next((a for a in node.args[:2] if a in self.packed), None)
        if other is not None and same_shape(shape(other), shape(node)):
            # In front of the convolution that it is added to, so that it can be part of it.
            image = plane_constant(self.editor, value, node, self.layouts[_size(node)], self.packed[other])
            if image is not None:
                return image
        given = tensor(value)
        if given is None or given.dtype != torch.float32 or given.ndim != len(shape(node)):
            return None
        if same_shape(given.shape, shape(node)):
            return self._planes(value, node)
        ones = all(isinstance(extent, int) and extent == 1 for extent in given.shape[2:])
        if not product or not ones:
            return None
        return self.editor.call(aten.flatten.using_ints, (value, 2), before=node)

    def _concatenate(self, node: fx.Node) -> fx.Node | None:
        values, axis = node.args[0], arguments(node)["dim"]
        if axis != 1 or not isinstance(values, (list, tuple)) or not any(v in self.packed for v in values):
            return None
        if _size(node) not in self.layouts or any(_size(v) != _size(node) for v in values):
            return None
        parts = [self._planes(value, node) for value in values if isinstance(value, fx.Node)]
        return self.editor.call(aten.cat.default, (parts, 1), before=node)

    def _mean(self, node: fx.Node) -> None:
        """The mean of each image, straight from its plane: all else in there is zero."""
        x, axes = node.args[:2]
        pooling = node.target == aten.adaptive_avg_pool2d.default
        whole = [1, 1] if pooling else [2, 3]
        if x not in self.packed or len(shape(x)) != 4 or node.kwargs.get("dtype") is not None:
            return
        if (list(axes) if pooling else sorted(axis % 4 for axis in axes)) != whole:
            return
        height, width = _size(x)
        total = self.editor.call(aten.sum.dim_IntList, (self.packed[x], [2]), before=node)
        mean = self.editor.call(aten.mul.Tensor, (total, 1.0 / (height * width)), before=node)
        for _ in range(len(shape(node)) - 2):
            mean = self.editor.call(aten.unsqueeze.default, (mean, -1), before=node)
        self.editor.replace(node, mean)


def _size(node: Any) -> tuple[int, int]:
    """Height and width of an image [N, C, H, W] or [N, C, L]; (0, 0), the size of no layout, of anything else."""
    given = tensor(node)
    if given is None or given.dtype != torch.float32 or given.ndim not in (3, 4):
        return 0, 0
    extents = given.shape[2:]
    if not all(isinstance(extent, int) for extent in extents):
        return 0, 0
    return (1, int(extents[0])) if given.ndim == 3 else (int(extents[0]), int(extents[1]))


def _ungrouped(weight: Tensor, groups: int) -> Tensor:
    """A grouped weight [n, C / groups, ...] as the block-diagonal matrix [n, C * taps] that it is."""
    n, own = weight.shape[0], weight[0].numel()
    matrix = weight.new_zeros(groups, n // groups, groups, own)
    matrix[torch.arange(groups), :, torch.arange(groups)] = weight.reshape(groups, n // groups, own)
    return matrix.reshape(n, groups * own)


def _not_negative(node: Any) -> bool:
    if is_op(node, aten.hardtanh.default, aten.clamp.default):
        low = list(arguments(node).values())[1]
        return low is not None and low >= 0
    if is_op(node, aten.max_pool1d.default, aten.max_pool2d.default):
        return _not_negative(node.args[0])
    return is_op(node, *_NOT_NEGATIVE)
