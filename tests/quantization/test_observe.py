"""What is noted about the inputs of layers."""

import pytest
import torch
from torch import Tensor, nn

from l0compile.errors import ConfigError, DataError
from l0compile.quantization.observe import Observed, observe


def test_the_sample_is_a_uniform_one_of_bounded_size() -> None:
    seen = Observed(1, 200)
    for start in range(0, 10_000, 37):
        seen.add(torch.arange(start, min(start + 37, 10_000)).float()[:, None])
    values = seen.rows[:, 0]
    assert len(values) == 200 and len(set(values.tolist())) == 200
    # The mean of 200 draws is off by 5000 / sqrt(3 * 200) = 204 in the root mean square.
    assert abs(float(values.mean()) - 5000) < 1000
    assert float(seen.peak) == 9999.0


def test_few_rows_are_all_kept() -> None:
    seen = Observed(2, 50)
    x = torch.randn(7, 2)
    seen.add(x[:3])
    seen.add(x[3:])
    assert torch.equal(seen.rows, x)


class Shared(nn.Module):
    """q and k read one tensor; v reads an equal one, w the same after it was changed."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.w = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = x + 1
        y = self.q(x) + self.k(x) + self.v(x.clone())
        x.mul_(2)
        return y + self.w(x)


def test_layers_of_one_tensor_are_told_from_those_of_an_equal_one() -> None:
    model = Shared().eval()
    layers = dict(model.named_children())
    seen = observe(model, layers, dict.fromkeys(layers, 4), [torch.randn(2, 4), (torch.randn(3, 4),)])
    assert seen["q"].calls == seen["k"].calls
    assert seen["v"].calls != seen["q"].calls != seen["w"].calls
    assert torch.equal(seen["q"].rows, seen["v"].rows)
    assert not any(layer._forward_pre_hooks for layer in layers.values())


def run(batches: object) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    observe(model, {"0": model[0]}, {"0": 4}, batches)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_data_that_is_not_finite_is_refused(bad: float) -> None:
    x = torch.zeros(2, 4)
    x[1, 2] = bad
    with pytest.raises(DataError, match="calibration batch 2: expected finite inputs of layer '0'"):
        run([torch.zeros(2, 4), x])


def test_no_data_is_refused() -> None:
    with pytest.raises(DataError, match="at least one batch"):
        run(iter(()))


@pytest.mark.parametrize("single", [torch.zeros(2, 4), {"input": torch.zeros(2, 4)}, 3])
def test_a_batch_that_is_no_list_of_batches_is_refused(single: object) -> None:
    with pytest.raises(ConfigError, match=r"write \[batch\]"):
        run(single)
