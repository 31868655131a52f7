"""Images in planes: which values exist in that layout, and how the others get there and back."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, follower, shape, tensor
from l0compile.ir.ops.planes import Planes
from l0compile.rewrite.layout.plane_operands import integer_input
from l0compile.rewrite.windows import (
    CONVOLUTIONS,
    INTEGER_CONVOLUTIONS,
    MEANS,
    Window,
    conv_weight,
    layouts,
    window_of,
)

aten, l0 = torch.ops.aten, torch.ops.l0compile


class PlanePacking:
    """State of one run: the windows that fit, the layout of each image size, and the values that exist in planes.

    Attributes:
        windows: node -> its window, for each convolution and pooling that kernels on planes can compute.
        layouts: (height, width) -> the layout that all images of this size share.
        packed: node -> the node of the same value in planes.
        made: copies in other layouts, by what they are copies of and how.
    """

    def __init__(self, editor: Editor, rows: int) -> None:
        self.editor, self.rows = editor, rows
        self.windows = {
            node: found
            for node in editor.graph.nodes
            if (found := window_of(node)) and self._fits(node, found)
        }
        self.layouts = layouts(list(self.windows.values()))
        self.packed: dict[fx.Node, fx.Node] = {}
        self.made: dict[Any, fx.Node] = {}

    def _fits(self, node: fx.Node, window: Window) -> bool:
        if node.target in CONVOLUTIONS:
            return conv_weight(self.editor, node) is not None
        if node.target in INTEGER_CONVOLUTIONS:
            return integer_input(self.editor, node) is not None
        if node.target not in MEANS:
            return True
        given = arguments(node)
        counted = window.padding == (0, 0) or given["count_include_pad"]
        whole = not (window.ceil and window.reaches_out)
        return counted and whole and given.get("divisor_override") is None

    def back_to_images(self) -> None:
        """Give every reader of images its image back."""
        for node, packed in self.packed.items():
            readers = [user for user in node.users if user not in self.packed]
            if not readers:
                continue
            size = image_size(node)
            planes, flat = self.layouts[size], Planes.rows(*size)
            args = (packed, planes.numbers(), flat.numbers(), [1, 1], [0, 0])
            image = self.editor.call(l0.copy_planes.default, args, before=packed.next, origin=node)
            if len(shape(node)) == 4:
                split = (image, 2, list(size))
                image = self.editor.call(aten.unflatten.int, split, before=image.next, origin=node)
            for user in readers:
                user.replace_input_with(node, image)

    def planes(self, value: fx.Node, before: fx.Node) -> fx.Node:
        """``value`` in the layout of its size; ``before`` is the node that wants it."""
        if value in self.packed:
            return self.packed[value]
        return self._copy(value, self.layouts[image_size(value)], (1, 1), ((0, 0),), before)

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
            x, source = self.packed.get(value), self.layouts.get(image_size(value))
            if x is None or source is None:
                x, source = value, Planes.rows(*image_size(value))
                if len(shape(value)) == 4:
                    x = self.editor.call(
                        aten.flatten.using_ints, (value, 2), before=follower(value), origin=origin
                    )
            flat = [place for phase in phases for place in phase]
            args = (x, source.numbers(), result.numbers(), list(step), flat, *([True] if lowest else []))
            self.made[key] = self.editor.call(l0.copy_planes.default, args, before=follower(x), origin=origin)
        return self.made[key]

    def read(self, node: fx.Node, lowest: bool = False) -> tuple[fx.Node, list[int], Planes, Planes]:
        """The input of ``node`` as its window wants it.

        Args:
            node: a key of ``windows``.
            lowest: whether minus infinity, instead of zero, must lie around the image.

        Returns:
            (input, place of each tap in it, its layout, layout of the result).
        """
        window, x = self.windows[node], node.args[0]
        assert isinstance(x, fx.Node)
        result = self.layouts[window.result]
        if window.keeps_size and not lowest:
            return self.planes(x, node), window.places(result, 0), result, result
        source = window.source(result.pitch)
        value = self._copy(x, source, window.stride, window.phases, node, lowest)
        return value, window.places(source, int(shape(x)[1])), source, result


def image_size(node: Any) -> tuple[int, int]:
    """Height and width of an image [N, C, H, W] or [N, C, L]; (0, 0), which no layout has, for anything else."""
    given = tensor(node)
    if given is None or given.dtype != torch.float32 or given.ndim not in (3, 4):
        return 0, 0
    extents = given.shape[2:]
    if not all(isinstance(extent, int) for extent in extents):
        return 0, 0
    return (1, int(extents[0])) if given.ndim == 3 else (int(extents[0]), int(extents[1]))
