"""``l0.quantize`` on whole models."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import l0compile as l0
from l0compile.errors import ConfigError, DataError, GateError
from l0compile.quantization import Bfloat16Linear, QuantizedLinear


class Attention(nn.Module):
    """Attention of one head and two layers after it."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width, bias=False)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + nn.functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
        return x + self.down(nn.functional.gelu(self.up(x)))


def data(count: int = 4, width: int = 16, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 6, width, generator=generator) for _ in range(count)]


def attention() -> Attention:
    torch.manual_seed(0)
    return Attention().eval()


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).square().mean() / wanted.square().mean())


@pytest.mark.parametrize("rounding", ["nearest", "compensated"])
def test_the_copy_answers_nearly_the_same_and_the_model_is_unchanged(rounding: str) -> None:
    model = attention()
    before = copy.deepcopy(model.state_dict())
    narrow = l0.quantize(model, data(), rounding=rounding)
    (x,) = data(1, seed=1)
    assert relative(narrow(x), model(x)) < 1e-4
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    kinds = {name: type(layer).__name__ for name, layer in narrow.named_children()}
    assert kinds.pop("unused") == "Linear" and set(kinds.values()) == {"QuantizedLinear"}


def test_layers_of_one_input_share_their_scales() -> None:
    narrow = l0.quantize(attention(), data())
    assert narrow.q.inverse is narrow.k.inverse is narrow.v.inverse
    assert narrow.q.zero_point == narrow.k.zero_point == narrow.v.zero_point
    assert narrow.up.inverse is not narrow.q.inverse


def test_each_layer_has_a_record() -> None:
    records = {record.name: record for record in l0.quantize(attention(), data()).quantization}
    assert list(records) == ["q", "k", "v", "up", "down", "unused"]
    assert records["q"].precision == "int8" and 0 < records["q"].error < 1e-3
    assert records["unused"].precision == "float32" and "no calibration batch" in records["unused"].reason


def test_layers_that_lose_too_much_stay_float32() -> None:
    model = attention()
    narrow = l0.quantize(model, data(), tolerance=0.0)
    assert all(record.precision == "float32" for record in narrow.quantization)
    assert "> 0" in narrow.quantization[0].reason
    (x,) = data(1)
    assert torch.equal(narrow(x), model(x))


def test_bfloat16() -> None:
    model = attention()
    narrow = l0.quantize(model, data(), "bfloat16")
    assert isinstance(narrow.q, Bfloat16Linear) and narrow.quantization[0].precision == "bfloat16"
    (x,) = data(1, seed=1)
    assert 0 < relative(narrow(x), model(x)) < 1e-4


def test_each_layer_in_a_precision_of_its_own() -> None:
    asked = {"q": "int8", "k": "bfloat16", "v": "int8", "down": "float32"}
    narrow = l0.quantize(attention(), data(), asked)
    found = {record.name: (record.precision, record.reason) for record in narrow.quantization}
    assert [found[name][0] for name in ("q", "k", "v")] == ["int8", "bfloat16", "int8"]
    assert found["up"] == found["down"] == ("float32", "not asked for")
    assert narrow.q.inverse is narrow.v.inverse and isinstance(narrow.k, Bfloat16Linear)
    assert isinstance(narrow.up, nn.Linear) and relative(narrow(data()[0]), attention()(data()[0])) < 1e-4
    with pytest.raises(
        ConfigError, match=r"precision: expected names of linear layers, such as 'q', got 'query'"
    ):
        l0.quantize(attention(), data(), {"query": "int8"})
    with pytest.raises(ConfigError, match=r"precision of 'q': expected one of .*'float32'\), got 'int4'"):
        l0.quantize(attention(), data(), {"q": "int4"})


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_the_input_has_the_name_that_it_has_in_pytorch(precision: str) -> None:
    torch.manual_seed(0)
    x, layer = torch.randn(5, 8), nn.Linear(8, 4).eval()
    narrow = l0.quantize(layer, [x], precision)
    assert torch.equal(narrow(input=x), narrow(x))


def test_dead_and_constant_channels() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    with torch.no_grad():
        model[0].weight[1] = 0.0
        model[0].bias[1] = 2.0
        model[0].bias[2] = -100.0
        model[2].weight[3] = 0.0
    x = torch.randn(64, 6)
    x[:, 4], x[:, 5] = 0.0, 3.0
    narrow = l0.quantize(model, [x])
    assert relative(narrow(x), model(x)) < 1e-3
    assert torch.equal(narrow(x)[:, 3], model[2].bias[3].expand(64))
    assert bool((l0.quantize(model, [torch.zeros(4, 6)])(x)).isfinite().all())


def test_exact_zeros_stay_zeros() -> None:
    model = attention()
    with torch.no_grad():
        model.up.weight[torch.rand_like(model.up.weight) < 0.7] = 0.0
    for rounding in ("nearest", "compensated"):
        narrow = l0.quantize(model, data(), rounding=rounding)
        assert bool((narrow.up.rounded[model.up.weight == 0] == 0).all())
        assert torch.equal(narrow.up.kept, model.up.weight != 0)


def test_the_copy_trains() -> None:
    model = attention()
    narrow = l0.quantize(model, data()).train()
    (x,) = data(1)
    wanted = torch.randn(8, 6, 16, generator=torch.Generator().manual_seed(3))
    optimiser = torch.optim.Adam(narrow.parameters(), 0.01)
    losses = []
    for _ in range(20):
        loss = (narrow(x) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    trained = narrow(x).detach()
    assert relative(narrow.eval()(x), trained) < 1e-6


def test_a_saved_copy_loads_into_another() -> None:
    one, other = l0.quantize(attention(), data()), l0.quantize(attention(), data(1, seed=9))
    other.load_state_dict(one.state_dict())
    (x,) = data(1, seed=1)
    assert torch.equal(other(x), one(x))


def test_export_sees_the_operators() -> None:
    exported = torch.export.export(l0.quantize(attention(), data()), (data(1)[0],))
    called = [node.target for node in exported.graph.nodes if node.op == "call_function"]
    assert called.count(torch.ops.l0compile.int8_linear.default) == 5
    assert torch.ops.aten.linear.default not in called


def test_the_fused_path_of_transformer_layers_does_not_skip_narrow_layers() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2).eval()
    narrow = l0.quantize(model, data())
    (x,) = data(1, seed=1)
    with torch.no_grad():
        found = narrow(x)
    assert torch.allclose(found, narrow(x.requires_grad_()), atol=1e-5)
    assert 1e-9 < relative(found, model(x)) < 1e-3


def test_a_layer_in_two_places_is_replaced_in_both() -> None:
    layer = nn.Linear(4, 4)
    narrow = l0.quantize(nn.Sequential(layer, nn.ReLU(), layer), [torch.randn(32, 4)])
    assert isinstance(narrow[0], QuantizedLinear) and narrow[0] is narrow[2]


def test_tied_weights_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(10, 8), nn.Linear(8, 10)
            self.head.weight = self.table.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.table(ids))

    narrow = l0.quantize(Tied(), [torch.arange(10)])
    assert narrow.head.weight is narrow.table.weight


def test_a_model_that_is_one_layer() -> None:
    narrow = l0.quantize(nn.Linear(4, 3), [torch.randn(16, 4)])
    assert isinstance(narrow, QuantizedLinear) and narrow.quantization[0].name == ""


def test_linear_layers_of_gpt2() -> None:
    conv1d = pytest.importorskip("transformers.pytorch_utils").Conv1D
    model = nn.Sequential(conv1d(5, 8), nn.GELU(), nn.Linear(5, 2)).eval()
    x = torch.randn(50, 8)
    narrow = l0.quantize(model, [x])
    assert isinstance(narrow[0], QuantizedLinear) and narrow[0].weight.shape == (5, 8)
    assert relative(narrow(x), model(x)) < 1e-3


@pytest.mark.parametrize("batch", [(torch.randn(4, 6),), {"input": torch.randn(4, 6)}, torch.randn(4, 6)])
def test_batches_come_in_three_forms(batch: object) -> None:
    records = l0.quantize(nn.Sequential(nn.Linear(6, 2)), [batch]).quantization
    assert records[0].precision == "int8"


def test_batches_of_another_form() -> None:
    model = nn.Linear(6, 2)
    narrow = l0.quantize(model, [{"x": torch.randn(9, 6)}], forward=lambda net, batch: net(batch["x"]))
    assert isinstance(narrow, QuantizedLinear)


def gated(fold: bool) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4)).eval()
    l0.attach(model, {"0": [l0.Block(4, 1), l0.Feature()], "2": l0.Neuron()})
    with torch.no_grad():
        for gate in (model[0].l0_block, model[2].l0_neuron):
            gate.log_alpha.normal_(0, 3)
    return l0.harden(model, 0.5, fold=fold)


@pytest.mark.parametrize("fold", [True, False])
def test_hardened_gates_are_constants(fold: bool) -> None:
    model = gated(fold)
    x = torch.randn(200, 8)
    narrow = l0.quantize(model, [x])
    assert [record.precision for record in narrow.quantization] == ["int8", "int8"]
    assert relative(narrow(x), model(x)) < 1e-3
    assert int((narrow[2].rounded == 0).all(0).sum()) >= 1


def test_gates_that_still_train_are_refused() -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    l0.attach(model, {"0": l0.Neuron()})
    with pytest.raises(GateError, match=r"harden\(model\) first"):
        l0.quantize(model, [torch.randn(4, 8)])


def test_pruned_by_pytorch() -> None:
    model = nn.Sequential(nn.Linear(8, 4))
    prune.l1_unstructured(model[0], "weight", 0.5)
    with pytest.raises(ConfigError, match=r"prune\.remove"):
        l0.quantize(model, [torch.randn(4, 8)])
    prune.remove(model[0], "weight")
    narrow = l0.quantize(model, [torch.randn(40, 8)])
    assert int((narrow[0].rounded == 0).sum()) >= 16


def test_layers_with_a_hook_or_a_forward_of_their_own_stay() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    model = nn.Sequential(nn.Linear(4, 4), Doubled(4, 4), nn.Linear(4, 4)).eval()
    model[0].register_forward_hook(lambda layer, args, output: output + 1)
    x = torch.randn(32, 4)
    narrow = l0.quantize(model, [x])
    assert [record.precision for record in narrow.quantization] == ["float32", "float32", "int8"]
    assert "hook" in narrow.quantization[0].reason and "Doubled" in narrow.quantization[1].reason
    assert relative(narrow(x), model(x)) < 1e-3


def test_bad_arguments_are_refused() -> None:
    model, batches = nn.Sequential(nn.Linear(4, 4)), [torch.randn(3, 4)]
    for precision in ("int4", "auto", "fp8"):
        with pytest.raises(ConfigError, match=rf"\('int8', 'bfloat16'\), got '{precision}'"):
            l0.quantize(model, batches, precision)
    with pytest.raises(ConfigError, match="rounding"):
        l0.quantize(model, batches, rounding="up")
    with pytest.raises(ConfigError, match="tolerance"):
        l0.quantize(model, batches, tolerance=float("nan"))
    with pytest.raises(ConfigError, match="sample"):
        l0.quantize(model, batches, samples=0)
    with pytest.raises(DataError, match="at least one batch"):
        l0.quantize(model, [])
    with pytest.raises(DataError, match="NaN or infinity"):
        l0.quantize(model, [torch.full((3, 4), torch.nan)])


def test_models_that_cannot_be_quantised_are_refused() -> None:
    x = torch.randn(3, 4)
    with pytest.raises(ConfigError, match=r"expected a model with an nn\.Linear"):
        l0.quantize(nn.Sequential(nn.Conv2d(1, 1, 1)), [x])
    with pytest.raises(
        ConfigError, match=r"'0': expected a float32 weight, got torch.bfloat16; call model.float"
    ):
        l0.quantize(nn.Sequential(nn.Linear(4, 4)).bfloat16(), [x])
    with pytest.raises(ConfigError, match="quantised already"):
        l0.quantize(l0.quantize(nn.Sequential(nn.Linear(4, 4)), [x]), [x])
    grouped = nn.Module()
    grouped.register_buffer("qweight", torch.zeros(2, dtype=torch.int32))
    grouped.register_buffer("scales", torch.zeros(2))
    with pytest.raises(ConfigError, match="in groups"):
        l0.quantize(nn.Sequential(nn.Linear(4, 4), grouped), [x])
    lazy = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(ConfigError, match="run the model once"):
        l0.quantize(lazy, [x])


class Wrapped(Tensor):
    """A tensor that stands for another one, as those of torchao do."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Wrapped":
        return Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is torch.ops.aten.detach.default:
            return cls(args[0].inner)
        raise NotImplementedError(func)


def test_tensors_that_stand_for_others_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].weight = nn.Parameter(Wrapped(torch.randn(4, 4)), requires_grad=False)
    with pytest.raises(ConfigError, match=r"stands for other tensors.*float32 original"):
        l0.quantize(model, [torch.randn(3, 4)])


def test_rough_scales_change_neither_zeros_nor_what_is_computed() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8)).eval()
    with torch.no_grad():
        model[0].weight[:, ::3] = 0.0
    batches = [torch.randn(64, 12)]
    best, rough = (l0.quantize(model, batches, tolerance=math.inf, rough=rough) for rough in (False, True))
    assert [type(module) for module in best.modules()] == [type(module) for module in rough.modules()]
    assert not rough[0].rounded[:, ::3].any()
    wanted, errors = model(batches[0]), []
    for narrow in (best, rough):
        errors.append(float((narrow(batches[0]) - wanted).square().sum() / wanted.square().sum()))
    assert errors[0] <= errors[1] < 0.01


def test_zeros_alone_give_no_scale() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    narrow = l0.quantize(model, [torch.zeros(8, 4)])
    assert [record.precision for record in narrow.quantization] == ["float32", "int8"]
    assert "only with zeros" in narrow.quantization[0].reason
