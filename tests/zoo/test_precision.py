"""Every model of the zoo with linear layers, quantised and compiled: no island that float32 lacks."""

import pytest
import torch

import l0compile as l0
from l0compile.errors import ConfigError
from tests.zoo import MODELS
from tests.zoo.check import SETTINGS, pruned

FAST = ("bert", "mlp_mixer", "gcn", "lstm")


def check(name: str, precision: str) -> None:
    """``l0.compile`` compares the answers; what is left to see is that kernels of narrow numbers gave them."""
    zoo = MODELS[name]
    model, (args, kwargs) = pruned(zoo, SETTINGS[3]), zoo.inputs()
    try:
        narrow = l0.quantize(
            model, [(args, kwargs)], precision, tolerance=1.0, forward=lambda m, b: m(*b[0], **b[1])
        )
    except ConfigError as error:
        assert "nn.Linear" in str(error)
        pytest.skip(str(error))
    torch.manual_seed(0)
    wide, found = (l0.compile(m.eval(), args, kwargs, engine="tvm").explain() for m in (model, narrow))
    assert found.verification["checked"]
    assert len(found.islands) <= len(wide.islands), [str(island) for island in found.islands]
    expected = {layer.name for layer in narrow.quantization if layer.precision == precision}
    computed = {region.name.split("@")[0] for region in found.regions if region.precision == precision}
    assert not expected or computed


@pytest.mark.parametrize("name", FAST)
def test_quantised_models_compile(name: str) -> None:
    check(name, "int8")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_every_model_compiles(name: str, precision: str) -> None:
    check(name, precision)
