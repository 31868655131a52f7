"""A small convolutional network through the whole line, with a symbolic batch and zeros in blocks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import l0compile as l0


class Network(nn.Module):
    """Stem with a stride, pooling, shortcut, depthwise and grouped layers, squeeze and excite, classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 7, 2, 3)
        self.first, self.second = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 1)
        self.depthwise = nn.Conv2d(16, 16, 5, 2, 2, groups=16)
        self.grouped = nn.Conv2d(16, 24, 3, padding=1, groups=2)
        self.squeeze, self.excite = nn.Conv2d(24, 4, 1), nn.Conv2d(4, 24, 1)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1)
        x = F.relu(x + self.second(F.relu(self.first(x))))
        x = F.silu(self.grouped(F.hardswish(self.depthwise(x))))
        gate = self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))).sigmoid()
        return self.head(F.adaptive_avg_pool2d(x * gate, 1).flatten(1))


def test_a_convolutional_network() -> None:
    torch.manual_seed(0)
    model = Network().eval()
    mask = (torch.rand(4, 144) < 0.3).repeat_interleave(4, 0).view(16, 16, 3, 3)
    model.first.weight.data *= mask
    compiled = l0.compile(model, (torch.randn(2, 3, 45, 38),), dynamic_shapes={"x": {0: "batch"}})
    formats = {region.name: region.format for region in compiled.explain().regions}
    assert formats["first"] == "bsr" and formats["second"] == "dense"
    for batch in (1, 5):
        x = torch.randn(batch, 3, 45, 38)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
