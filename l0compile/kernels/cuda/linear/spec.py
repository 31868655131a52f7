"""What CUDA's linear kernels compute, and the choices in how."""

from dataclasses import dataclass

FEW_TOKENS = 16
"""Tokens of the smallest tile."""


@dataclass(frozen=True)
class CudaLinearSpec:
    """activation(x Wᵀ + bias) + residual: x [tokens, k] -> [tokens, n], of any number of tokens.

    Attributes:
        n: output features.
        k: input features.
        rows, cols: the block of a sparse weight, stored as ``l0compile::bsr_linear`` has it; 0 of a dense one [n, k].
        dtype: of all tensors but the int32 ones: "float16", "bfloat16" or "float32". Sums are float32.
        bias: there is a bias [n].
        residual: there is a residual [tokens, n].
        order: an int32 tensor says in which order block rows begin.
        activation: a key of ``ACTIVATIONS``.
        tf32: float32 factors are rounded to TF32's 10 bits, for tensor cores.
        few: there are likely no more than ``FEW_TOKENS``, for which tiles are cut; 0 of them to any number are right.
    """

    n: int
    k: int
    rows: int
    cols: int
    dtype: str
    bias: bool
    residual: bool
    order: bool
    activation: str
    tf32: bool = False
    few: bool = False

    @property
    def dense(self) -> bool:
        return self.rows == 0


@dataclass(frozen=True)
class CudaLinearSchedule:
    """How a kernel is cut into thread blocks, warps and stages.

    Attributes:
        tokens: of a thread block's tile.
        outputs: of a thread block's tile; they divide the rows of a sparse weight's block.
        depth: numbers of k in a stage.
        token_warps: warps side by side along the tokens of a tile.
        output_warps: the same along its outputs.
        slices: warps that share the k of a stage, and add up their sums at the end.
        stages: tiles of factors in shared memory at once: one is multiplied while the others arrive.
        splits: thread blocks that share the k of one tile; another kernel adds up what they computed.
        blocks: thread blocks that a multiprocessor's registers have to be enough for; 0: the compiler's choice.
        resident: thread blocks of a multiprocessor that compute one tile after the other; 0: one tile each, so that the
            hardware hands them out, which evens out rows with unlike numbers of blocks.
        warpgroups: four warps along the tokens multiply together, each 16 of them with all outputs (``wgmma``).
    """

    tokens: int
    outputs: int
    depth: int
    token_warps: int
    output_warps: int
    stages: int
    slices: int = 1
    splits: int = 1
    blocks: int = 0
    resident: int = 0
    warpgroups: bool = False

    @property
    def threads(self) -> int:
        return 32 * self.token_warps * self.output_warps * self.slices
