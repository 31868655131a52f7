"""Matrix products, convolutions and pooling of one to three dimensions."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.lower.grid.theme import Function, Theme

aten = torch.ops.aten


def convolutions(space: int) -> dict[str, Function]:
    name, up = f"conv{space}d", f"conv_transpose{space}d"

    def weight(outputs: int, inputs: int, size: int) -> Tensor:
        torch.manual_seed(outputs + 10 * inputs + 100 * size)
        return torch.randn(outputs, inputs, *[size] * space)

    table: dict[str, Function] = {}
    for number, options in enumerate(
        (
            {},
            {"padding": 1},
            {"stride": 2, "padding": 1},
            {"dilation": 2, "padding": 2},
            {"groups": 2},
            {"padding": "same"},
            {"padding": "valid"},
        )
    ):
        w = weight(6, 4 // options.get("groups", 1), 3)
        table[f"{name} {number}"] = lambda x, w=w, o=options: getattr(F, name)(x, w, torch.arange(6.0), **o)
    single, even, point, plain = weight(4, 1, 3), weight(2, 4, 2), weight(2, 4, 1), weight(2, 4, 3)
    table["depthwise"] = lambda x, w=single: getattr(F, name)(x, w, None, padding=1, groups=4)
    table["even window"] = lambda x, w=even: getattr(F, name)(x, w, padding="same")
    table["point"] = lambda x, w=point: getattr(F, name)(x, w)
    table["no batch"] = lambda x, w=plain: getattr(F, name)(x[0], w)
    for number, options in enumerate(
        (
            {},
            {"stride": 2},
            {"stride": 2, "padding": 1, "output_padding": 1},
            {"groups": 2},
            {"dilation": 2, "stride": 3},
        )
    ):
        w = weight(4, 6 // options.get("groups", 1), 3)
        table[f"up {number}"] = lambda x, w=w, o=options: getattr(F, up)(x, w, None, **o)
    return table


PRODUCTS = (
    Theme(
        "products",
        lambda: (torch.randn(2, 3, 4), torch.randn(4, 5)),
        {
            "matmul": lambda x, w: x @ w,
            "batched": lambda x, w: torch.matmul(x, x.mT),
            "bmm": lambda x, w: torch.bmm(x, x.mT),
            "mm": lambda x, w: torch.mm(x[0], w),
            "mv": lambda x, w: torch.mv(x[0], w[:, 0]),
            "dot": lambda x, w: torch.dot(w[0], w[1]),
            "vector left": lambda x, w: torch.matmul(x[0, 0], w),
            "vector right": lambda x, w: torch.matmul(x, w[:, 1]),
            "spread": lambda x, w: torch.matmul(x[:, None], x.mT[None]),
            "linear": lambda x, w: F.linear(x, w.t() * 1),
            "linear bias": lambda x, w: F.linear(x, w.t(), w[0]),
            "float64": lambda x, w: x.double() @ w.double(),
            "whole": lambda x, w: (x * 5).to(torch.int64) @ (w * 5).to(torch.int64),
            "linear vector": lambda x, w: F.linear(x[0, 0], w.t()),
        },
    ),
    Theme(
        "conv1d",
        lambda: (torch.randn(2, 4, 11),),
        {
            **convolutions(1),
            "max": lambda x: F.max_pool1d(x, 3, 2, 1),
            "mean": lambda x: F.avg_pool1d(x, 3, 2, 1),
            "adaptive": lambda x: F.adaptive_avg_pool1d(x, 1),
            "general": lambda x: aten.convolution(x, torch.ones(3, 4, 2), None, [2], [1], [1], False, [0], 1),
        },
    ),
    Theme(
        "conv2d",
        lambda: (torch.randn(2, 4, 8, 6),),
        {
            **convolutions(2),
            "general up": lambda x: aten.convolution(
                x, torch.ones(4, 3, 2, 2), None, [2, 2], [0, 0], [1, 1], True, [0, 0], 1
            ),
            "rectangle": lambda x: F.conv2d(x, torch.ones(3, 4, 1, 3), stride=(2, 1), padding=(0, 1)),
            "max": lambda x: F.max_pool2d(x, 2),
            "max padded": lambda x: F.max_pool2d(x, 3, 2, 1),
            "max dilated": lambda x: F.max_pool2d(x, 2, 1, 0, 2),
            "max ceil": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
            "max odd": lambda x: F.max_pool2d(x[..., 1:], (3, 2)),
            "mean": lambda x: F.avg_pool2d(x, 2),
            "mean padded": lambda x: F.avg_pool2d(x, 3, 2, 1),
            "mean inside": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
            "mean ceil": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
            "mean divisor": lambda x: F.avg_pool2d(x, (2, 3), divisor_override=5),
            "mean ceil inside": lambda x: F.avg_pool2d(x, 3, 2, 1, True, False),
            "adaptive": lambda x: F.adaptive_avg_pool2d(x, 1),
            "adaptive 2": lambda x: F.adaptive_avg_pool2d(x, (4, 2)),
            "adaptive raw": lambda x: aten._adaptive_avg_pool2d(x, [1, 1]),
        },
    ),
    Theme(
        "conv3d",
        lambda: (torch.randn(1, 4, 5, 4, 6),),
        {
            **convolutions(3),
            "max": lambda x: F.max_pool3d(x, 2),
            "mean": lambda x: F.avg_pool3d(x, 2),
            "adaptive": lambda x: F.adaptive_avg_pool3d(x, 1),
        },
    ),
)
