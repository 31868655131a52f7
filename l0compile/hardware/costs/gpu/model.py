"""An analytic model of kernels on a GPU: waves of tiles, each as long as its slowest resource, plus the launch.

The time of a kernel is

    launch + fixed + max(busiest multiprocessor, bytes / (bandwidth * memory))

A tile of ``tokens x rows`` results takes the longer of its multiplications, at the stated speed of a multiprocessor
times an efficiency, and of its operands on their way from the second cache. That is what makes small blocks slow: a
64x64 block of 16-bit numbers brings 32 operations a byte, one of 128x128 twice as many. Dealing tiles out to whole
multiprocessors gives the waves, and rows with more blocks than others the imbalance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from l0compile.errors import TargetError
from l0compile.hardware.costs.gpu.efficiencies import (
    L2_BYTES_PER_CYCLE,
    OURS,
    TWO_OF_FOUR,
    TWO_OF_FOUR_SPEED,
    WARP_LEVEL,
    Efficiencies,
)
from l0compile.hardware.costs.gpu.tiles import expected_lengths, makespan, splits
from l0compile.hardware.costs.record import KernelWorkload
from l0compile.hardware.targets import Gpu, Target

_BYTES = {"float32": 4, "tf32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "float8": 1}
# The architecture whose instructions begin products of four warps, and the least tokens of one.
_WARPGROUPS, _GROUP_TOKENS = "sm_90a", 64
_SPARSE_TENSOR_CORES = 80
_STEP = 16  # columns of a product that one instruction of tensor cores takes
# Tokens and outputs of a tile of a dense layer, and tokens of a tile beside a row of blocks.
_DENSE_TILES = ((256, 128), (128, 128), (128, 64), (64, 64), (16, 128), (16, 64))
_SPARSE_TOKENS = (128, 64, 32, 16)
# A result of 8-bit factors is float32, unless it is rounded at once.
_RESULT_BYTES = {"int8": 4}
_READ_AND_WRITE = ("softmax", "layer_norm", "rms_norm", "rope", "embedding", "elementwise")


@dataclass(frozen=True)
class Prediction:
    """A predicted time in milliseconds: no one has measured it.

    Attributes:
        low: the shortest that would not surprise.
        mid: the most likely.
        high: the longest that would not surprise.
        bound: what it waits for most: "multiplications", "second cache", "memory" or "launch".
    """

    low: float
    mid: float
    high: float
    bound: str

    def __str__(self) -> str:
        return f"predicted {self.mid:.3g} ms [{self.low:.3g}, {self.high:.3g}]"

    def __add__(self, other: "Prediction") -> "Prediction":
        longer = self if self.mid >= other.mid else other
        return Prediction(self.low + other.low, self.mid + other.mid, self.high + other.high, longer.bound)


@dataclass(frozen=True)
class GpuModel:
    """Predicts kernels on the card of a target.

    Attributes:
        target: with a ``Gpu``.
        profile: how well the kernels use it.
    """

    target: Target
    profile: Efficiencies = OURS

    def predict(self, work: KernelWorkload, lengths: Sequence[int] | None = None) -> Prediction | None:
        """Predict one call; None for work that the model does not know.

        Args:
            work: what is computed; its ``dtype`` may also be "tf32" and "float16". The word "2:4" of a dense layer is
                for products that skip two of each four weights.
            lengths: blocks kept in each row of blocks of a layer; default: such as chance leaves them.

        Raises:
            TargetError: the target is not a GPU.
        """
        if work.dtype not in _BYTES or not work.shape or work.density <= 0.0:
            return None
        if work.op == "linear" and len(work.shape) == 2:
            return self._linear(work, lengths)
        if work.op in ("attention", "block_attention") and len(work.shape) >= 6:
            return self._attention(work)
        if work.op in _READ_AND_WRITE:
            return self.moved(2 * work.tokens * work.shape[0] * _BYTES[work.dtype])
        return None

    def moved(self, read_and_written: float) -> Prediction:
        """Predict a kernel that computes next to nothing: what it takes is the way of its bytes through memory."""
        return self._in_all(0.0, "", read_and_written)

    @property
    def gpu(self) -> Gpu:
        """The card.

        Raises:
            TargetError: the target is not a GPU.
        """
        if self.target.gpu is None:
            raise TargetError(f"target {self.target.name}: expected a GPU, got kind {self.target.kind!r}")
        return self.target.gpu

    @property
    def _skips_zeros(self) -> bool:
        """Tensor cores from sm_80 on multiply two of each four numbers."""
        return int(self.target.cpu.removeprefix("sm_").rstrip("af")) >= _SPARSE_TENSOR_CORES

    def _linear(self, work: KernelWorkload, lengths: Sequence[int] | None) -> Prediction | None:
        (n, k), e, profile = work.shape, _BYTES[work.dtype], self.profile
        activations = work.tokens * (n * _RESULT_BYTES.get(work.dtype, e) + k * e)
        weights = n * k * e * work.density
        if work.block is None:
            skips = TWO_OF_FOUR in work.words
            if skips and not self._skips_zeros:
                return None
            # Those that skip zeros are begun by single warps.
            model = replace(self, profile=replace(profile, warpgroups=False)) if skips else self
            busy, bound = min(
                model._dense(work.tokens, n, k, work.dtype, tile, skips) for tile in _DENSE_TILES
            )
            weights *= _stored(work.dtype, skips)
        else:
            weights += 4 * work.density * n * k / (work.block[0] * work.block[1])
            busy, bound = min(self._sparse(work, tokens, lengths) for tokens in _SPARSE_TOKENS)
        found = self._in_all(busy, bound, weights + self._beyond_cache(activations))
        if work.block is None:
            return found
        copies = (profile.passes - 1) * self._memory_ms(self._beyond_cache(activations))
        padding = profile.padding_kernels if work.tokens < _STEP else 0
        return self._longer(found, copies + padding * (self.gpu.launch_us + profile.fixed_us) / 1e3)

    def _dense(
        self, tokens: int, n: int, k: int, dtype: str, tile: tuple[int, int], skips: bool
    ) -> tuple[float, str]:
        """Milliseconds of the busiest multiprocessor, and what it waits for."""
        tiles = ceil(tokens / tile[0]) * ceil(n / tile[1])
        parts = splits(tiles, self.target.cores)
        each, bound = self._tile(tile[0], tile[1], k / parts, dtype, 0, skips)
        return makespan([each], tiles * parts, self.target.cores), bound

    def _sparse(self, work: KernelWorkload, tokens: int, lengths: Sequence[int] | None) -> tuple[float, str]:
        (n, k), (rows, cols) = work.shape, work.block or (1, 1)
        kept = lengths or expected_lengths(ceil(n / rows), ceil(k / cols), work.density)
        each, bound = self._tile(tokens, max(rows, _STEP), cols, work.dtype, self.profile.block_columns)
        across = ceil(work.tokens / tokens)
        parts = splits(across * len(kept), self.target.cores)
        return makespan([each * length / parts for length in kept], across * parts, self.target.cores), bound

    def _tile(
        self, tokens: int, rows: int, columns: float, dtype: str, more_columns: float, skips: bool = False
    ) -> tuple[float, str]:
        """Milliseconds of ``tokens x rows`` results that sum over ``columns`` on one multiprocessor.

        skips: two of each four are zeros, neither fetched nor multiplied.
        """
        operations = 2.0 * tokens * rows * (columns + more_columns)
        multiply = 1e3 * operations / (self._speed(dtype, tokens) / self.target.cores)
        multiply /= TWO_OF_FOUR_SPEED if skips else 1.0
        fetched = (tokens + rows * _stored(dtype, skips)) * columns * _BYTES[dtype]
        fetch = 1e3 * fetched / (self.profile.sharing * L2_BYTES_PER_CYCLE * 1e6 * self.gpu.boost_mhz)
        return (multiply, "multiplications") if multiply >= fetch else (fetch, "second cache")

    def _speed(self, dtype: str, tokens: int) -> float:
        """Operations a second that products of ``dtype`` reach on the whole card, in tiles of so many tokens."""
        stated, profile = 1e12 * self.gpu.tflops(dtype), self.profile
        if dtype not in dict(self.gpu.tensor_tflops):
            return stated * profile.plain
        four = profile.warpgroups and self.target.cpu == _WARPGROUPS and _BYTES[dtype] == 2
        return stated * profile.tensor * (1.0 if four and tokens >= _GROUP_TOKENS else self._instructions())

    def _instructions(self) -> float:
        return WARP_LEVEL.get(self.target.cpu.rstrip("a"), 1.0) if self.profile.warp_level else 1.0

    def _attention(self, work: KernelWorkload) -> Prediction:
        heads, key_heads, width, value_width, queries, keys = work.shape[:6]
        e, profile, sequences = _BYTES[work.dtype], self.profile, max(1, work.tokens // max(1, queries))
        share = work.density * (0.5 if "causal" in work.words else 1.0)
        if work.op == "block_attention":
            share = min(1.0, share / profile.sparse_attention)
        operations = 2.0 * sequences * heads * queries * keys * (width + value_width) * share
        tensor = work.dtype in dict(self.gpu.tensor_tflops)
        efficiency = profile.attention * self._instructions() if tensor else profile.plain
        tiles = sequences * heads * ceil(queries / 128)
        each = (
            1e3 * operations / tiles / (1e12 * self.gpu.tflops(work.dtype) * efficiency / self.target.cores)
        )
        moved = (
            sequences
            * e
            * (queries * heads * (width + value_width) + keys * key_heads * (width + value_width))
        )
        busy = makespan([each], tiles, self.target.cores)
        return self._in_all(busy, "multiplications", self._beyond_cache(moved))

    def _beyond_cache(self, moved: float) -> float:
        """What of the activations does not lie in the second cache since the kernel before."""
        return max(0.0, moved - self.target.l2_bytes / 2)

    def _in_all(self, busy_ms: float, bound: str, moved: float) -> Prediction:
        """Launch and work of a kernel."""
        memory = self._memory_ms(moved)
        fixed = (self.gpu.launch_us + self.profile.fixed_us) / 1e3
        if max(busy_ms, memory) < fixed:
            bound = "launch"
        elif memory > busy_ms:
            bound = "memory"
        ms = fixed + max(busy_ms, memory)
        return Prediction(ms / self.profile.band, ms, ms * self.profile.band, bound)

    def _memory_ms(self, moved: float) -> float:
        return 1e3 * moved / (1e9 * self.gpu.bandwidth_gbs * self.profile.memory)

    def _longer(self, found: Prediction, ms: float) -> Prediction:
        band = self.profile.band
        return replace(found, low=found.low + ms / band, mid=found.mid + ms, high=found.high + ms * band)


def _stored(dtype: str, skips: bool) -> float:
    """Bytes of a weight, over those of all its numbers: with 2:4 half of these, and two bits for each that is kept."""
    return 0.5 + 0.125 / _BYTES[dtype] if skips else 1.0
