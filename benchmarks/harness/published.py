"""Published times on GPUs, and what the analytic model says of the same work."""

from collections.abc import Callable
from dataclasses import dataclass

from l0compile.hardware.costs import GpuModel, KernelWorkload, Prediction
from l0compile.hardware.costs.gpu import TRITON, VENDOR, Efficiencies
from l0compile.hardware.targets import load_target

_GEMM = "waynehacking8/blackwell-tensorcore-kernels results/bench.csv (H100 80GB HBM3, cuBLAS)"
_B200 = "pyptx.dev/performance (B200, cuBLAS)"
_VIT = "superblock README and pull request 9; PyTorch blog, Speeding up ViTs using Block Sparsity (A100)"
_LLAMA = "pytorch/ao pull request 1734 (H100)"
_LISTED = "mit-han-lab/Block-Sparse-Attention, figure (A100, causal, head width 128, 64k tokens)"


@dataclass(frozen=True)
class Published:
    """A published time.

    Attributes:
        name: of the work.
        source: where it is published.
        ms: the time, in milliseconds.
        predict: makes the prediction of the same work.
        fitted: constants of the model were fitted to it; otherwise it was held out.
        doubt: why the prediction is not expected to hold; "" where it is.
    """

    name: str
    source: str
    ms: float
    predict: Callable[[], Prediction]
    fitted: bool = False
    doubt: str = ""


def published() -> list[Published]:
    """All figures: dense products, then block-sparse layers in models, then attention."""
    return [*_h100(), *_others(), *_vits(), _decoding(), *_listed_keys()]


def _model(target: str, profile: Efficiencies) -> GpuModel:
    return GpuModel(load_target(f"cuda-{target}"), profile)


def _product(
    target: str, tokens: int, n: int, k: int, dtype: str, ms: float, source: str, **more: object
) -> Published:
    work = KernelWorkload("linear", (n, k), tokens=tokens, dtype=dtype)

    def predict() -> Prediction:
        found = _model(target, VENDOR).predict(work)
        assert found is not None
        return found

    return Published(f"{target} {dtype} {tokens}x{n}x{k}", source, ms, predict, **more)  # type: ignore[arg-type]


def _h100() -> list[Published]:
    times = {
        "float16": {512: 0.009, 1024: 0.012, 2048: 0.031, 4096: 0.188, 8192: 1.443},
        "tf32": {512: 0.009, 1024: 0.017, 2048: 0.052, 4096: 0.340, 8192: 2.633},
        # Smaller ones hold half a millisecond that is no product: 512 cubed is said to take 0.488 ms.
        "float32": {8192: 23.229},
    }
    fitted = {("float16", 512), ("float16", 4096), ("float16", 8192), ("tf32", 8192), ("float32", 8192)}
    return [
        _product("sm90", size, size, size, dtype, ms, _GEMM, fitted=(dtype, size) in fitted)
        for dtype, of_size in times.items()
        for size, ms in of_size.items()
    ]


def _others() -> list[Published]:
    speeds = {(2048, 2048, 2048): 1006, (4096, 4096, 4096): 1532, (4096, 8192, 8192): 1652, (8192, 4096, 8192): 1648,
              (8192, 8192, 8192): 1610}  # fmt: skip
    found = [
        _product("sm100", m, n, k, "bfloat16", 2e-9 * m * n * k / tflops, _B200, fitted=m == n == k == 8192)
        for (m, n, k), tflops in speeds.items()
    ]
    return [
        *found,
        _product("sm80", 16384, 16384, 16384, "float16", 29.099, "NVIDIA/cutlass issue 408 (A100 SXM4)"),
        _product("sm80", 4096, 4096, 4096, "float16", 0.608, "NVIDIA/CUDALibrarySamples issue 57 (A100)"),
        _product("sm90", 768, 4096, 4096, "bfloat16", 0.0457, "NVIDIA/cutlass issue 1335 (H100)"),
        _product(
            "sm89",
            16384,
            16384,
            16384,
            "float16",
            2e-9 * 16384**3 / 154,
            "tilelang pull request 1056 (RTX 4090)",
        ),
    ]


def _layers_of_vit(
    width: int, dtype: str, tokens: int, block: int | None, density: float
) -> list[Prediction]:
    model = _model("sm80", VENDOR if block is None else TRITON)
    found = []
    for n, k in ((4 * width, width), (width, 4 * width), (width, width)):
        shape = None if block is None else (block, block)
        predicted = model.predict(KernelWorkload("linear", (n, k), shape, density, tokens, dtype=dtype))
        assert predicted is not None
        found.append(predicted)
    return found


def _vit(
    width: int, layers: int, tokens: int, dtype: str, block: int, zeros: float, dense_ms: float, ms: float,
    fitted: bool = False, doubt: str = "",
) -> Published:  # fmt: skip
    """A whole model: its published dense time, less what its dense layers should take, plus what sparse ones should."""

    def predict() -> Prediction:
        dense = layers * sum(each.mid for each in _layers_of_vit(width, dtype, tokens, None, 1.0))
        sparse = _layers_of_vit(width, dtype, tokens, block, 1 - zeros)
        low, mid, high = (
            dense_ms - dense + layers * sum(getattr(each, name) for each in sparse)
            for name in ("low", "mid", "high")
        )
        return Prediction(low, mid, high, sparse[0].bound)

    name = f"ViT width {width}, {dtype}, {zeros:.0%} of {block}x{block} zero, {dense_ms:g} ms dense"
    return Published(name, _VIT, ms, predict, fitted, doubt)


def _vits() -> list[Published]:
    base, tokens = 532.1, 256 * 197
    return [
        _vit(768, 12, tokens, "float32", 64, 0.8, base, 393.9, fitted=True),
        _vit(768, 12, tokens, "float32", 64, 0.9, base, base / 1.65),
        _vit(768, 12, tokens, "float32", 64, 0.7, base, base),
        _vit(768, 12, tokens, "float32", 32, 0.9, base, base / 1.37, fitted=True),
        _vit(768, 12, tokens, "float32", 16, 0.9, base, base / 1.24),
        _vit(768, 12, tokens, "bfloat16", 64, 0.9, 77.02, 73.27, fitted=True),
        _vit(
            1280, 32, 256 * 257, "bfloat16", 64, 0.9, 1110.6, 844.4,
            doubt="more was saved than all of these layers take at the card's stated speed",
        ),
    ]  # fmt: skip


def _decoding() -> Published:
    """A token of Llama-3.1-8B: 32 layers with three linear layers each that are 90 % zero in 64x64 blocks."""

    def predict() -> Prediction:
        shapes, layers = ((14336, 4096), (14336, 4096), (4096, 14336)), 32
        dense = [
            _model("sm90", VENDOR).predict(KernelWorkload("linear", s, tokens=1, dtype="bfloat16"))
            for s in shapes
        ]
        works = [KernelWorkload("linear", s, (64, 64), 0.1, 1, dtype="bfloat16") for s in shapes]
        sparse = [_model("sm90", TRITON).predict(work) for work in works]
        rest = 1e3 / 134 - layers * sum(each.mid for each in dense if each)
        low, mid, high = (
            rest + layers * sum(getattr(each, name) for each in sparse) for name in ("low", "mid", "high")
        )
        return Prediction(low, mid, high, "memory")

    return Published(
        "Llama-3.1-8B, one token, bfloat16, 90% of 64x64 zero, 134 tokens/s dense", _LLAMA, 1e3 / 266, predict
    )


def _listed_keys() -> list[Published]:
    def times(density: float) -> tuple[Prediction, Prediction]:
        shape, words = (
            (32, 32, 128, 128, 65536, 65536),
            {"tokens": 65536, "variant": "causal", "dtype": "float16"},
        )
        model = _model("sm80", VENDOR)
        dense = model.predict(KernelWorkload("attention", shape, **words))  # type: ignore[arg-type]
        some = model.predict(KernelWorkload("block_attention", shape, None, density, **words))  # type: ignore[arg-type]
        assert dense is not None and some is not None
        return dense, some

    def one(zeros: float, speedup: float, fitted: bool) -> Published:
        dense, some = times(1 - zeros)
        name = f"sm80 attention, 64k tokens, {zeros:.0%} of 128x128 zero, {speedup:g} times as fast"
        return Published(name, _LISTED, dense.mid / speedup, lambda: some, fitted)

    return [one(0.7, 2.7, True), one(0.8, 4.0, True), one(0.9, 7.7, False), one(0.95, 14.0, False)]
