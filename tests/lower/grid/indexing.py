"""Gathers and scatters: negative indices, several index tensors, axes apart."""

import torch
from torch.nn import functional as F

from tests.lower.grid.theme import Theme

aten = torch.ops.aten

INDEXING = (
    Theme(
        "indices",
        lambda: (torch.randn(4, 5, 3), torch.tensor([[0, 3], [2, 2]]), torch.tensor([-1, 1])),
        {
            "one": lambda x, i, j: x[i],
            "second": lambda x, i, j: x[:, j],
            "unsafe": lambda x, i, j: aten._unsafe_index(x, [None, i]),
            "two": lambda x, i, j: x[i, j],
            "apart": lambda x, i, j: x[i, :, j],
            "last": lambda x, i, j: x[..., i % 3],
            "late two": lambda x, i, j: x[:, i, j],
            "whole": lambda x, i, j: i[j],
            "select": lambda x, i, j: x.index_select(-2, i[0]),
            "embedding": lambda x, i, j: F.embedding(i, x[0]),
            "gather": lambda x, i, j: x.gather(0, i[..., None].expand(2, 2, 3) % 4),
            "gather last": lambda x, i, j: x.gather(-1, (i % 3)[None].expand(2, 2, 2)),
            "gather scalar": lambda x, i, j: x.gather(1, i[None, :1, :1].expand(4, 1, 3)),
            "index_add": lambda x, i, j: x.index_add(1, i[0], x[:, :2]),
            "index_add alpha": lambda x, i, j: x.index_add(-1, i[1], x[..., :2], alpha=2),
            "index_add same": lambda x, i, j: torch.zeros(4, 5).index_add(0, i.flatten(), torch.ones(4, 5)),
            "scatter": lambda x, i, j: x.scatter(1, i[:, :, None], x[:2, :2, :1] * 2),
            "scatter value": lambda x, i, j: x.scatter(0, i[None], 7.0),
            "scatter one_hot": lambda x, i, j: torch.zeros(2, 4).scatter(1, i[:, :1], 1.0),
            "scatter_add": lambda x, i, j: x.scatter_add(-2, i[:, :, None], x[2:, :2, 2:]),
            **{
                f"scatter {how}": lambda x, i, j, how=how: x.scatter_reduce(
                    1, i[:, :, None], x[2:, :2, 2:], how
                )
                for how in ("sum", "prod", "amax", "amin")
            },
            "scatter alone": lambda x, i, j: x.scatter_reduce(
                1, i[:, :, None], x[2:, :2, 2:], "amax", include_self=False
            ),
            "scatter sum alone": lambda x, i, j: x.scatter_reduce(
                1, i[:, :, None], x[2:, :2, 2:], "sum", include_self=False
            ),
            "put": lambda x, i, j: aten.index_put(x, [i], torch.ones(5, 3)),
            "put add": lambda x, i, j: aten.index_put(x, [None, i], torch.ones(3), True),
            "put apart": lambda x, i, j: aten.index_put(x, [j, None, j], torch.full((2, 5), 5.0)),
        },
    ),
)
