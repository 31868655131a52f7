"""``quantize``: a copy of a model whose linear layers compute with narrow numbers."""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from l0compile.errors import ConfigError
from l0compile.gates.apply import fold_gates
from l0compile.quantization.attention import multiply_in_bfloat16
from l0compile.quantization.eligible import check, layers_of, weight_of, why_not
from l0compile.quantization.fit import NarrowLayer, Rounding, fit_bfloat16, fit_int8, shared_inputs
from l0compile.quantization.observe import Observed, observe
from l0compile.quantization.record import LayerPrecision

PRECISIONS = ("int8", "bfloat16")
_ROUNDINGS = ("nearest", "compensated")
_NOT_ASKED = "not asked for"


def quantize(
    model: nn.Module,
    calibration: Iterable[object],
    precision: str | Mapping[str, str] = "int8",
    *,
    rounding: Rounding = "nearest",
    attention: str = "float32",
    tolerance: float = 0.01,
    samples: int = 2048,
    forward: Callable[[nn.Module, Any], object] | None = None,
) -> nn.Module:
    """Make a copy of a trained model whose linear layers compute with 8 or 16 bits.

    The copy is an ordinary module in PyTorch that says exactly what the narrow model answers, and can be trained on.
    Every ``nn.Linear`` (and ``Conv1D`` of transformers) that the calibration data reaches is replaced; others stay.

    ``"int8"``: inputs are unsigned, with one zero point for a tensor, and weights signed, with a scale for each row.
    What is exactly 0 stays exactly 0. Outliers of input features move into the weights before rounding (SmoothQuant,
    arXiv 2211.10438), and scales are those of least squared error of each layer's output. Layers that get the very same
    tensor, such as query, key and value, share its scales. ``"bfloat16"``: both factors are rounded to bfloat16, sums
    are float32.

    Args:
        model: a trained float32 model; gates, if any, are hardened. It is not changed.
        calibration: batches of typical inputs without padding, which would count as input: mappings (called as
            ``model(**batch)``), tuples or lists (``model(*batch)``), or single inputs. Read once; 100 items are good.
        precision: ``"int8"`` or ``"bfloat16"``; or the precision of each layer by its name: those left out stay
            ``"float32"``.
        rounding: of int8 weights. ``"nearest"``; or ``"compensated"``: column by column, where later columns make up
            for the error of earlier ones on the calibration data (GPTQ, arXiv 2210.17323), which takes longer.
        attention: what both products of ``scaled_dot_product_attention`` multiply: ``"float32"``, or ``"bfloat16"``,
            which takes half of their time on a CPU that has instructions for it, and more on others.
        tolerance: a layer whose output changes by more than this stays float32: the sum of squared changes as a share
            of the sum of squared outputs.
        samples: inputs of each layer [k] to keep for the choice of scales, drawn from all that it gets.
        forward: called as ``forward(model, batch)`` instead, for batches of another form.

    Returns:
        The copy in evaluation mode. Its attribute ``quantization`` holds a
        :class:`l0compile.quantization.LayerPrecision` for each linear layer of the model, in the order of its modules.

    Raises:
        ConfigError: the precision, a layer or another argument is unknown; the model has no linear layer, weights that
            are not float32, or is quantised already; ``calibration`` is a single batch.
        DataError: no calibration batch, or one that leads to NaN or infinity at a layer.
        GateError: a gate is not hardened.
    """
    _check_options(precision, rounding, attention, tolerance, samples)
    check(model)
    narrow = _copied(model)
    layers = layers_of(narrow)
    wanted = _by_layer(precision, layers)
    reasons = {n: why_not(layer) if wanted[n] != "float32" else _NOT_ASKED for n, layer in layers.items()}
    able = {name: layer for name, layer in layers.items() if reasons[name] is None}
    widths = {name: weight_of(layer).shape[1] for name, layer in able.items()}
    fitted = _fit(able, observe(narrow, able, widths, calibration, forward, samples), wanted, rounding)
    records = [_decide(name, reasons[name], fitted.get(name), wanted[name], tolerance) for name in layers]
    chosen = {record.name: fitted[record.name][0] for record in records if record.precision != "float32"}
    made = {layers[name]: layer for name, layer in chosen.items()}
    return _finished(narrow, made, tuple(records), attention)


def _finished(
    model: nn.Module,
    narrow: Mapping[nn.Module, nn.Module],
    records: tuple[LayerPrecision, ...],
    attention: str,
) -> nn.Module:
    """Put each narrow layer in the place of its own, and the records on the model."""
    if attention == "bfloat16":
        multiply_in_bfloat16(model)
    for layer, by in narrow.items():
        model = _replaced(model, layer, by)
    _leave_fast_path(model)
    model.eval()
    model.quantization = records  # type: ignore[assignment]
    return model


def _copied(model: nn.Module) -> nn.Module:
    """Copy ``model`` in evaluation mode, its hardened gates folded into its weights where that is exact."""
    try:
        made = copy.deepcopy(model)
    except RuntimeError as error:
        raise ConfigError(
            f"quantize: expected a model that copy.deepcopy can copy, got: {error}; if torch.nn.utils.prune pruned it, "
            "call prune.remove on its layers first"
        ) from error
    fold_gates(made.eval())
    return made


def _by_layer(precision: str | Mapping[str, str], layers: Mapping[str, nn.Module]) -> dict[str, str]:
    """Return the precision asked for of each layer.

    Raises:
        ConfigError: there is no such layer, or no such precision.
    """
    if isinstance(precision, str):
        return dict.fromkeys(layers, precision)
    if strange := [name for name in precision if name not in layers]:
        raise ConfigError(
            f"quantize: precision: expected names of linear layers, such as {next(iter(layers))!r}, got {strange[0]!r}"
        )
    known = (*PRECISIONS, "float32")
    for name, value in precision.items():
        if value not in known:
            raise ConfigError(f"quantize: precision of {name!r}: expected one of {known}, got {value!r}")
    return {name: precision.get(name, "float32") for name in layers}


def _check_options(
    precision: str | Mapping[str, str], rounding: str, attention: str, tolerance: float, samples: int
) -> None:
    if isinstance(precision, str) and precision not in PRECISIONS:
        raise ConfigError(f"quantize: expected a precision in {PRECISIONS}, got {precision!r}")
    if rounding not in _ROUNDINGS:
        raise ConfigError(f"quantize: expected a rounding in {_ROUNDINGS}, got {rounding!r}")
    if attention not in ("float32", "bfloat16"):
        raise ConfigError(f"quantize: expected attention in float32 or bfloat16, got {attention!r}")
    if not tolerance >= 0:
        raise ConfigError(f"quantize: expected a tolerance of at least 0, got {tolerance}")
    if samples < 1:
        raise ConfigError(f"quantize: expected at least 1 sample, got {samples}")


def _fit(
    layers: dict[str, nn.Module], seen: dict[str, Observed], precisions: Mapping[str, str], rounding: Rounding
) -> dict[str, NarrowLayer]:
    fitted: dict[str, NarrowLayer] = {}
    for precision in PRECISIONS:
        reached = {n: found for n, found in seen.items() if len(found.rows) and precisions[n] == precision}
        for names in shared_inputs(reached):
            group, observed = [layers[name] for name in names], reached[names[0]]
            made = (
                fit_int8(group, observed, rounding) if precision == "int8" else fit_bfloat16(group, observed)
            )
            fitted.update(zip(names, made, strict=True))
    return fitted


def _decide(
    name: str, reason: str | None, fitted: NarrowLayer | None, precision: str, tolerance: float
) -> LayerPrecision:
    if reason is not None:
        return LayerPrecision(name, "float32", reason=reason)
    if fitted is None:
        return LayerPrecision(name, "float32", reason="no calibration batch reached it")
    error = fitted[1]
    if not error <= tolerance:
        return LayerPrecision(
            name, "float32", error, f"{precision} changes its output by {error:.2g} > {tolerance:g}"
        )
    return LayerPrecision(name, precision, error, f"within the tolerance of {tolerance:g}")


def _replaced(model: nn.Module, layer: nn.Module, by: nn.Module) -> nn.Module:
    """Put ``by`` wherever ``layer`` is registered; return the model, which may be the layer itself."""
    if model is layer:
        return by
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if child is layer:
                parent._modules[key] = by
    return model


def _leave_fast_path(model: nn.Module) -> None:
    """Have ``nn.TransformerEncoder`` call its layers; in evaluation mode it would read their weights instead."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
