"""What rounding a layer costs: in the unit of pruning, and not offered where it costs too much."""

import torch
from torch import Tensor, nn

from l0compile.gates import Block, attach, harden, named_gates
from l0compile.quantization import quantize
from l0compile.studies.pruning.curvature import measure_curvature
from l0compile.studies.pruning.rounding import rounding_losses


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 16)).eval()


def batches() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(64, 32) for _ in range(4)]


def predict(net: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = net(x)
    return found


def test_fewer_bits_lose_more_and_all_of_them_less_than_the_layer() -> None:
    net = model()
    curvature = measure_curvature(net, ("0", "2"), batches(), predict)
    found = rounding_losses(net, curvature, ("float32", "bfloat16", "int8"), batches(), predict)
    for name, losses in found.items():
        assert list(losses) == ["float32", "bfloat16", "int8"]
        weight = net.get_submodule(name).weight.detach()
        whole = float((weight @ curvature[name].gram * weight).sum(1) @ curvature[name].sensitivity)
        assert 0.0 == losses["float32"] < losses["bfloat16"] < losses["int8"] < 0.01 * whole


def test_losses_predict_what_the_model_loses() -> None:
    # The curvature describes the squared change of the output; without an activation it does so exactly.
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(32, 48), nn.Linear(48, 16)).eval()
    curvature = measure_curvature(net, ("0", "1"), batches(), predict)
    found = rounding_losses(net, curvature, ("int8",), batches(), predict)
    data = torch.cat(batches())
    for name in ("0", "1"):
        narrow = quantize(net, batches(), {name: "int8"})
        with torch.no_grad():
            change = (narrow(data) - net(data)).square().sum(1).mean()
        assert 0.5 < float(change) / found[name]["int8"] < 2.0


def test_a_layer_that_loses_too_much_stays_wider() -> None:
    net = model()
    with torch.no_grad():
        net[2].weight[:, 0] *= 1e4  # type: ignore[index,operator]
        net[2].weight[:, 1:] *= 1e-4  # type: ignore[index,operator]
        net[0].bias[0] = -30.0  # type: ignore[index]  # so that the column that decides the scale reads nothing
    curvature = measure_curvature(net, ("0", "2"), batches(), predict)
    found = rounding_losses(net, curvature, ("int8",), batches(), predict)
    assert list(found["0"]) == ["int8"] and list(found["2"]) == ["float32"]


def test_zeros_stay_zeros_however_weights_are_rounded() -> None:
    net = model()
    attach(net, {"0": Block(4, 4)})
    (gate,) = named_gates(net).values()
    with torch.no_grad():
        gate.log_alpha.copy_(torch.where(torch.arange(96).reshape_as(gate.log_alpha) % 3 == 0, -8.0, 8.0))
    harden(net, values="binary", fold=False)
    closed = net[0].weight.detach() == 0  # type: ignore[index]
    assert closed.any()
    for rounding in ("nearest", "compensated"):
        narrow = quantize(net, batches(), "int8", rounding=rounding)  # type: ignore[arg-type]
        rounded: Tensor = narrow[0].rounded  # type: ignore[index,assignment]
        assert bool((rounded[closed] == 0).all()) and bool((rounded[~closed] != 0).any())
