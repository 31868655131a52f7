"""compact()'s result goes through torch.jit.trace and the older ONNX exporter, with sizes that vary."""

import io
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import l0compile as l0


class Encoder(nn.Module):
    """Attention, a convolution, an expanded row, positions, a slice by size and a padded end."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(20, 16), nn.LayerNorm(16)
        self.place, self.start = nn.Embedding(64, 16), nn.Parameter(torch.randn(1, 1, 16))
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)
        self.conv = nn.Conv1d(16, 8, 3, padding=1)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        batch, tokens = ids.shape
        x = self.table(ids) + self.place(torch.arange(tokens))
        x = torch.cat([self.start.expand(batch, -1, -1), x], 1)
        x = self.norm(x) + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.down(F.gelu(self.up(x)))
        return self.conv(x.transpose(1, 2)), x[:, tokens // 2 :].sum(1) / tokens


def pruned_encoder() -> nn.Module:
    torch.manual_seed(0)
    model = Encoder().eval()
    with torch.no_grad():
        model.up.weight[:16] = 0
        model.up.bias[:16] = 0
    return model


def pruned_images() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    ).eval()  # fmt: skip
    with torch.no_grad():
        model[0].weight[:4] = 0
        model[0].bias[:4] = 0
    return model


IDS, IMAGES = torch.arange(10).reshape(2, 5), torch.randn(2, 3, 16, 16)
CASES = [
    (pruned_encoder(), IDS, {"ids": {0: "batch", 1: "tokens"}}, torch.arange(21).reshape(3, 7) % 20),
    (pruned_encoder(), IDS, None, IDS.flip(1)),
    (pruned_images(), IMAGES, {"input": {0: "batch"}}, torch.randn(5, 3, 16, 16)),
]


def tuple_of(results: Any) -> tuple[Tensor, ...]:
    return results if isinstance(results, tuple) else (results,)


@pytest.mark.parametrize(("model", "x", "dynamic", "other"), CASES)
def test_both_follow_sizes(model: nn.Module, x: Tensor, dynamic: Any, other: Tensor) -> None:
    small = l0.compact(model, (x,), dynamic_shapes=dynamic)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    with torch.no_grad():
        wanted = tuple_of(model(other))
        for name, found in (("twin", small(other)), ("traced", torch.jit.trace(small, (x,))(other))):
            for got, want in zip(tuple_of(found), wanted, strict=True):
                torch.testing.assert_close(
                    got, want, rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
                )
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    file, names = io.BytesIO(), {}
    if dynamic is not None:
        ((given, axes),) = dynamic.items()
        results = [f"result_{number}" for number in range(len(wanted))]
        # With dynamic axes this exporter wants both kinds of names of any fx.GraphModule.
        names = {"input_names": [given], "output_names": results, "dynamic_axes": {given: axes}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and says so many times
        torch.onnx.export(small, (x,), file, dynamo=False, **names)
    session = ort.InferenceSession(file.getvalue())
    found = session.run(None, {session.get_inputs()[0].name: other.numpy()})
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(torch.from_numpy(got), want, rtol=1e-4, atol=1e-5)
