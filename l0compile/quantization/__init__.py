"""Narrow numbers for trained models: a copy of a model in PyTorch whose layers compute with 8 or 16 bits."""

from l0compile.quantization.layers import Bfloat16Linear as Bfloat16Linear
from l0compile.quantization.layers import QuantizedConv2d as QuantizedConv2d
from l0compile.quantization.layers import QuantizedLinear as QuantizedLinear
from l0compile.quantization.quantize import quantize as quantize
from l0compile.quantization.record import LayerPrecision as LayerPrecision
