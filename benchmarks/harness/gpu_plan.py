"""What the benchmark of GPUs runs, and about how long that takes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import BertConfig, BertModel

from harness import gpu_models
from harness.gpu_models import GpuModelCase
from l0compile.hardware.costs import GpuModel, KernelWorkload
from l0compile.hardware.targets import Target
from l0compile.measurement.cuda import GpuProtocol

# Seconds, generously: of nvcc for a kernel and for a model (results/cuda_models.jsonl); of torch.compile for a layer
# with all that it tries, for attention and for a model.
_BUILD_S, _MODEL_BUILD_S = 4.0, 20.0
_LAYER_COMPILE_S, _ATTENTION_COMPILE_S, _MODEL_COMPILE_S = 25.0, 15.0, 40.0
_ENGINES, _START_S = 3, 20.0


@dataclass(frozen=True)
class LayerCase:
    """A linear layer.

    Attributes:
        tokens, n, k: rows of the input, output and input features.
        block: rows and columns of a square block; 0: dense.
        density: share of the blocks that are kept.
        dtype: "float16", "bfloat16" or "float32".
    """

    tokens: int
    n: int
    k: int
    block: int
    density: float
    dtype: str

    @property
    def work(self) -> KernelWorkload:
        """What is computed."""
        block = (self.block, self.block) if self.block else None
        return KernelWorkload("linear", (self.n, self.k), block, self.density, self.tokens, dtype=self.dtype)


@dataclass(frozen=True)
class AttentionCase:
    """Attention of one sequence to itself, to all keys or to those up to the query."""

    heads: int
    width: int
    tokens: int
    dtype: str
    causal: bool

    @property
    def work(self) -> KernelWorkload:
        """What is computed."""
        shape = (self.heads, self.heads, self.width, self.width, self.tokens, self.tokens)
        return KernelWorkload(
            "attention", shape, tokens=self.tokens, variant="causal" * self.causal, dtype=self.dtype
        )


@dataclass(frozen=True)
class GpuPlan:
    """Everything that is run.

    Attributes:
        dtype: of most of it.
        layers: sparse ones; the dense ones of the same sizes run once each.
    """

    dtype: str
    layers: tuple[LayerCase, ...]
    attention: tuple[AttentionCase, ...]
    models: tuple[GpuModelCase, ...]

    @property
    def dense(self) -> tuple[LayerCase, ...]:
        """A dense layer for each size among the sparse ones."""
        found = (LayerCase(c.tokens, c.n, c.k, 0, 1.0, c.dtype) for c in self.layers)
        return tuple(dict.fromkeys(found))

    def seconds(self, model: GpuModel) -> dict[str, float]:
        """Part -> about how long it takes on the card of ``model``, compilers included: an estimate, no measurement."""
        kernels = {(c.n, c.k, c.block, c.dtype, c.tokens > 16) for c in (*self.layers, *self.dense)}
        timed = [*self.layers, *self.layers, *self.dense, *self.dense, *self.dense]
        return {
            "start": _START_S,
            "correctness": _BUILD_S * (len(kernels) + len(self.attention)) + 0.5 * len(self.layers),
            "layers": sum(_timing_s(case.work, model) for case in timed)
            + _LAYER_COMPILE_S * sum(case.dtype == self.dtype for case in self.dense),
            "attention": _ENGINES * sum(_timing_s(case.work, model) for case in self.attention)
            + _ATTENTION_COMPILE_S * len(self.attention),
            "models": len(self.models) * (2 * _MODEL_BUILD_S + _MODEL_COMPILE_S),
        }


def _timing_s(work: KernelWorkload, model: GpuModel) -> float:
    """Timing one engine: twice as slow as what is predicted for our kernel, and the cache written over in between."""
    protocol, predicted = GpuProtocol(), model.predict(work)
    assert predicted is not None
    flush_ms = 1e3 * 2 * model.target.l2_bytes / (1e9 * model.gpu.bandwidth_gbs)
    calls = 2 * protocol.warmup + protocol.blocks * protocol.calls
    return 0.2 + 1e-3 * calls * (2 * predicted.high + flush_ms)


def full_plan(target: Target) -> GpuPlan:
    """BERT-base's and Llama-3.1-8B's feed-forward, many tokens and few, three densities; long and short attention."""
    half = "bfloat16" if target.multiplies("bfloat16") else "float16"
    layers = [
        LayerCase(tokens, n, k, block, density, half)
        for tokens, n, k in ((4096, 3072, 768), (4096, 14336, 4096), (16, 14336, 4096))
        for block in (32, 64, 128)
        for density in (0.1, 0.2, 0.5)
    ]
    layers += [
        LayerCase(4096, 3072, 768, 64, 0.1, dtype) for dtype in ("float16", "float32") if dtype != half
    ]
    attention = [
        AttentionCase(heads, width, tokens, half, causal)
        for heads, width, tokens, causal in (
            (12, 64, 512, False), (12, 64, 4096, False), (32, 128, 8192, False), (32, 128, 8192, True),
        )
    ]  # fmt: skip
    return GpuPlan(half, tuple(layers), tuple(attention), gpu_models.CASES[:2])


def small_plan(_: Target) -> GpuPlan:
    """The same kinds of work at sizes that a dry run builds in seconds."""
    layers = tuple(LayerCase(tokens, 64, 96, 32, 0.5, "float16") for tokens in (40, 4))
    attention = (AttentionCase(2, 32, 40, "float16", True),)
    models = (GpuModelCase("tiny BERT", _tiny_bert, _tiny_text, gpu_models.TEXT_AXES),)
    return GpuPlan("float16", layers, attention, models)


def _tiny_bert() -> BertModel:
    return BertModel(
        BertConfig(
            hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=128, vocab_size=100,
            max_position_embeddings=64,
        )
    )  # fmt: skip


def _tiny_text() -> dict[str, torch.Tensor]:
    return {"input_ids": torch.randint(0, 100, (2, 8)), "attention_mask": torch.ones(2, 8, dtype=torch.int64)}


PLANS: dict[str, Callable[[Target], GpuPlan]] = {"full": full_plan, "small": small_plan}
