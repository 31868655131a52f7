"""The passes that ``compile`` runs, in order, and the functions that run them."""

from collections.abc import Callable

from torch import fx

from l0compile.hardware.costs import Costs
from l0compile.hardware.targets import Target
from l0compile.ir.program import Program
from l0compile.rewrite.compact.compact import compact as compact_channels
from l0compile.rewrite.compact.drop_dead import drop_dead
from l0compile.rewrite.compact.gather_channels import gather_channels
from l0compile.rewrite.compact.narrow_bags import narrow_bags
from l0compile.rewrite.formats.choose_formats import choose_formats
from l0compile.rewrite.formats.dense_attention import dense_attention
from l0compile.rewrite.formats.dense_kernels import dense_kernels
from l0compile.rewrite.formats.masks_beside_lists import masks_beside_lists
from l0compile.rewrite.formats.undo_gathers import undo_gathers
from l0compile.rewrite.formats.widen_bfloat16 import has_bfloat16, widen_bfloat16
from l0compile.rewrite.fuse.fuse_attention import fuse_attention
from l0compile.rewrite.fuse.fuse_complex_rope import fuse_complex_rope
from l0compile.rewrite.fuse.fuse_eager_attention import fuse_eager_attention
from l0compile.rewrite.fuse.fuse_epilogues import fuse_conv_epilogue, fuse_epilogue
from l0compile.rewrite.fuse.fuse_gelu import fuse_gelu
from l0compile.rewrite.fuse.fuse_rms_norm import fuse_rms_norm
from l0compile.rewrite.fuse.fuse_rope import fuse_rope
from l0compile.rewrite.fuse.fuse_words import fuse_words
from l0compile.rewrite.fuse.merge_roundings import merge_roundings
from l0compile.rewrite.layout.computed.places import places_of_the_best
from l0compile.rewrite.layout.computed.products import batched_products
from l0compile.rewrite.layout.decompose import decompose
from l0compile.rewrite.layout.gpu_rows import gpu_rows
from l0compile.rewrite.layout.integer_rows import integer_rows
from l0compile.rewrite.layout.integer_windows import integer_windows
from l0compile.rewrite.layout.narrow_norms import narrow_norms
from l0compile.rewrite.layout.patches import patches_to_linear
from l0compile.rewrite.layout.planes import pack_planes
from l0compile.rewrite.layout.rows import keep_rows
from l0compile.rewrite.layout.split_words import split_words
from l0compile.rewrite.layout.tokens import pack_tokens
from l0compile.rewrite.layout.transposed_conv import transposed_conv_to_conv
from l0compile.rewrite.normalize.bags import single_bags
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.normalize.complex_pairs import complex_to_pairs
from l0compile.rewrite.normalize.cse import cse
from l0compile.rewrite.normalize.flush_denormals import flush_denormals
from l0compile.rewrite.normalize.fold_batch_norm import fold_batch_norm
from l0compile.rewrite.normalize.fold_constants import fold_constants
from l0compile.rewrite.normalize.fold_gates import fold_gates
from l0compile.rewrite.normalize.matmul_to_linear import matmul_to_linear
from l0compile.rewrite.normalize.plain_arithmetic import plain_arithmetic
from l0compile.rewrite.normalize.quantized_graphs import read_quantized_graph
from l0compile.rewrite.normalize.shuffles_to_selects import shuffles_to_selects
from l0compile.rewrite.normalize.simplify_masks import simplify_masks
from l0compile.rewrite.normalize.split_linear import split_linear
from l0compile.rewrite.normalize.splits_to_slices import splits_to_slices
from l0compile.rewrite.normalize.strides_to_rows import strides_to_rows
from l0compile.rewrite.passes import Pass, PassGroup, select
from l0compile.rewrite.regions import record_regions
from l0compile.rewrite.runner import run

NORMALIZE = PassGroup("normalize", "Write the same function one way.", (
    Pass(strides_to_rows),  # while values still lie in memory as they did when the model was traced
    Pass(plain_arithmetic),
    Pass(canonicalize),
    Pass(complex_to_pairs),
    Pass(single_bags, adds_operators=True),
    Pass(cse),
    Pass(fuse_complex_rope, adds_operators=True),  # before a layer is split into even and odd features
    Pass(read_quantized_graph, adds_operators=True),  # before its weights are folded to float32
    Pass(fold_constants),  # gates on weights, and index arithmetic on fixed sizes
    Pass(matmul_to_linear),
    Pass(canonicalize),  # reshapes around what was a product of matrices
    Pass(split_linear),  # each of a fused query, key and value projection has zeros of its own
    Pass(splits_to_slices),  # those that no linear layer feeds
    Pass(shuffles_to_selects),
    Pass(fold_batch_norm),
    Pass(simplify_masks),  # a padding mask reaches attention as [batch, 1, 1, keys]
))  # fmt: skip
FUSE = PassGroup("fuse", "Find several operators that one kernel computes.", (
    Pass(fuse_rms_norm),
    Pass(fuse_gelu),
    Pass(fuse_eager_attention),
    Pass(cse),
    Pass(fuse_rope, adds_operators=True),
    Pass(fuse_attention, adds_operators=True),
    Pass(cse),  # what layers with one mask made of it
    Pass(canonicalize),  # cancels the transposes that attention no longer needs
))  # fmt: skip
COMPACT = PassGroup("compact", "Remove what is dead; dense operators stay dense.", (
    Pass(fold_gates),
    Pass(flush_denormals, flushes_denormals=True),  # after gates were multiplied in, before zeros are counted
    Pass(record_regions),  # from here on each layer's fate is written down
    Pass(drop_dead, uses_zeros=True),
    Pass(gather_channels, uses_zeros=True),  # what compaction alone would have to leave
    Pass(compact_channels, uses_zeros=True),
    Pass(drop_dead, uses_zeros=True),  # what compaction left neutral
    Pass(narrow_bags, adds_operators=True),  # by the widths that are left
    Pass(flush_denormals, flushes_denormals=True),  # constants folded into biases
    Pass(canonicalize),
))  # fmt: skip
WIDEN = PassGroup("widen", "For a model in bfloat16 on a CPU: float32 with roundings between products.", (
    Pass(widen_bfloat16, adds_operators=True, takes=("target",)),
    Pass(canonicalize),
    Pass(cse),
    Pass(merge_roundings),
    Pass(fuse_rms_norm),
    Pass(fuse_gelu),
    Pass(fuse_attention, adds_operators=True),
    Pass(canonicalize),  # cancels the transposes that attention no longer needs
))  # fmt: skip
FORMATS = PassGroup("formats", "Choose how each weight that is left is stored, and what attention walks.", (
    Pass(masks_beside_lists),
    Pass(dense_attention, takes=("costs",)),
    Pass(undo_gathers, uses_zeros=True, takes=("target",)),
    Pass(choose_formats, uses_zeros=True, adds_operators=True, takes=("target", "costs")),
))  # fmt: skip
LAYOUT = PassGroup("layout", "Bring values into the memory layouts of the CPU kernels.", (
    Pass(transposed_conv_to_conv),
    Pass(integer_windows, adds_operators=True),
    Pass(pack_planes, adds_operators=True, takes=("rows",)),
    Pass(fuse_conv_epilogue, adds_operators=True),
    Pass(decompose, options={"with_kernels": False}),  # what is elementwise can then stay packed
    Pass(pack_tokens, adds_operators=True, takes=("lanes", "rows")),
    Pass(fuse_epilogue, adds_operators=True),
    Pass(keep_rows, adds_operators=True, takes=("lanes",)),  # with what was fused
    Pass(fuse_words, adds_operators=True),  # behind activations and residuals
    Pass(decompose),  # norms and attention that no kernel takes
    Pass(batched_products, adds_operators=True),  # theirs included
    Pass(places_of_the_best, adds_operators=True),
))  # fmt: skip
SPLIT = PassGroup("split", "After the layout, where a CPU adds products of 8-bit integers in 16 bits.", (
    Pass(split_words),
))  # fmt: skip
LAYOUT_GPU = PassGroup("layout of a GPU", "Instead of the layout of CPUs: values stay in rows.", (
    Pass(transposed_conv_to_conv),
    Pass(patches_to_linear),
    Pass(narrow_norms, adds_operators=True),
    Pass(fuse_rope, adds_operators=True, options={"narrow": True}),  # CPUs have no kernel for such numbers
    Pass(fuse_attention, adds_operators=True, options={"narrow": True}),  # nor here
    Pass(canonicalize),  # cancels the transposes that attention no longer needs
    Pass(gpu_rows, adds_operators=True),
    Pass(integer_rows, adds_operators=True),
    Pass(fuse_epilogue, adds_operators=True),
    Pass(fuse_words, adds_operators=True),  # behind activations and residuals
    Pass(decompose, takes=("has_kernel",)),  # what no kernel takes, our own operators included
    Pass(canonicalize),  # reshapes and transposes of what was written out
))  # fmt: skip
PYTORCH = PassGroup("pytorch", "Instead of formats and layout, where PyTorch runs the model or a part of it.", (
    Pass(dense_kernels, adds_operators=True),
))  # fmt: skip

PIPELINE = (NORMALIZE, FUSE, COMPACT, WIDEN, FORMATS, LAYOUT, SPLIT, LAYOUT_GPU, PYTORCH)
"""What ``compile`` runs, from the captured program to the kernels."""
_DENSE = (NORMALIZE, FUSE, COMPACT)


def optimise(
    program: Program,
    target: Target,
    *,
    costs: Costs | None = None,
    ignore_zeros: bool = False,
    max_rewrites: int | None = None,
) -> Program:
    """Use every zero: the same function of the inputs with fewer operations, for ``target``.

    Args:
        program: a captured program.
        target: supplies the legal block shapes and their efficiency.
        costs: of kernels on the target; where they tell, the efficiencies do not count.
        ignore_zeros: leave out the passes that use zeros, for a dense model to compare with.
        max_rewrites: see :func:`l0compile.rewrite.runner.run`.

    Raises:
        RewriteError: a pass broke the program; nothing is returned then.
    """
    groups = (*_DENSE, *_for_target(program, target), FORMATS)
    passes = select(groups, zeros=not ignore_zeros, target=target, costs=costs)
    return run(program, passes, max_rewrites=max_rewrites)


def optimise_dense(program: Program, *, ignore_zeros: bool = False, denormals: bool = False) -> Program:
    """What :func:`optimise` does before it looks at the target: all weights are still dense.

    Args:
        program: a captured program.
        ignore_zeros: leave out the passes that use zeros.
        denormals: keep denormal weights.

    Raises:
        RewriteError: a pass broke the program.
    """
    return run(program, select(_DENSE, zeros=not ignore_zeros, denormals=denormals))


def dense_passes(denormals: bool = False) -> list[Pass]:
    """The passes that do not depend on the target; ``denormals``: keep denormal weights."""
    return select(_DENSE, denormals=denormals)


def choose(
    program: Program, target: Target, costs: Costs | None = None, *, ignore_zeros: bool = False
) -> Program:
    """The rest of :func:`optimise` for a result of :func:`optimise_dense`: numbers and formats that suit the target."""
    groups = (*_for_target(program, target), *(() if ignore_zeros else (FORMATS,)))
    return run(program, select(groups, target=target, costs=costs))


def _for_target(program: Program, target: Target) -> tuple[PassGroup, ...]:
    return (WIDEN,) if target.kind == "llvm" and has_bfloat16(program) else ()


def assign_layouts(program: Program, *, lanes: int, rows: int, splits: bool = False) -> Program:
    """Bring an optimised program into the layouts of the CPU kernels.

    Args:
        program: a result of :func:`optimise`.
        lanes: tokens of a tile.
        rows: rows of a block that dense weights are stored with, which is the height of the microkernel.
        splits: the CPU adds products of 8-bit integers in 16 bits, so that their weights are split where that pays.

    Raises:
        RewriteError: a pass broke the program.
    """
    groups = (LAYOUT, SPLIT) if splits else (LAYOUT,)
    return run(program, select(groups, lanes=lanes, rows=rows))


def assign_gpu_layouts(program: Program, has_kernel: Callable[[fx.Node], bool]) -> Program:
    """Bring an optimised program into the form that kernels of a GPU take.

    Args:
        program: a result of :func:`optimise`.
        has_kernel: whether a kernel takes a node with an operator of ours.

    Raises:
        RewriteError: a pass broke the program.
    """
    return run(program, select([LAYOUT_GPU], has_kernel=has_kernel))


def for_pytorch(program: Program) -> Program:
    """Bring a dense program, or a part of one, into the form that PyTorch runs fastest."""
    return run(program, select([PYTORCH]))


def compact(program: Program) -> Program:
    """Use the zeros that free whole channels: the same function in fewer and smaller dense ATen operators.

    The part of :func:`optimise` that needs no target and writes no operator of ours, so that the result is ordinary
    PyTorch; denormal weights stay.

    Raises:
        RewriteError: a pass broke the program.
    """
    return run(program, select(_DENSE, denormals=True, own_operators=False))


def lost_denormals(program: Program) -> bool:
    """Whether a pass that made ``program`` has set denormal weights to zero."""
    flushing = {step.name for group in PIPELINE for step in group.passes if step.flushes_denormals}
    return any(record.name in flushing and record.changed for record in program.history)


def describe() -> str:
    """The list of passes in Markdown, one table for each group, as ``docs/passes.md`` shows it."""
    parts = []
    for group in PIPELINE:
        rows = [f"| `{s.name}` | {'yes' if s.uses_zeros else ''} | {s.rule} |" for s in group.passes]
        head = [
            f"## {group.name}",
            "",
            group.purpose,
            "",
            "| pass | uses zeros | what it does |",
            "|---|---|---|",
        ]
        parts.append("\n".join([*head, *rows]))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(f"# The passes of compile\n\n{describe()}", end="")
