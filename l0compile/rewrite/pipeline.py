"""The order of the passes."""

from functools import partial

from l0compile.hardware.costs import Costs
from l0compile.hardware.targets import Target
from l0compile.ir.program import Program
from l0compile.rewrite.compact.compact import compact as compact_channels
from l0compile.rewrite.compact.drop_dead import drop_dead
from l0compile.rewrite.compact.narrow import narrow
from l0compile.rewrite.formats.choose_formats import choose_formats
from l0compile.rewrite.fuse.fuse_attention import fuse_attention
from l0compile.rewrite.fuse.fuse_complex_rope import fuse_complex_rope
from l0compile.rewrite.fuse.fuse_conv_epilogue import fuse_conv_epilogue
from l0compile.rewrite.fuse.fuse_eager_attention import fuse_eager_attention
from l0compile.rewrite.fuse.fuse_epilogue import fuse_epilogue
from l0compile.rewrite.fuse.fuse_gelu import fuse_gelu
from l0compile.rewrite.fuse.fuse_rms_norm import fuse_rms_norm
from l0compile.rewrite.fuse.fuse_rope import fuse_rope
from l0compile.rewrite.layout.decompose import spell_out
from l0compile.rewrite.layout.planes import assign_planes
from l0compile.rewrite.layout.tokens import assign_layout
from l0compile.rewrite.layout.transposed_conv import untranspose
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.normalize.complex_pairs import complex_to_pairs
from l0compile.rewrite.normalize.cse import merge_equal
from l0compile.rewrite.normalize.flush_denormals import flush_denormals
from l0compile.rewrite.normalize.fold_batch_norm import fold_batch_norm
from l0compile.rewrite.normalize.fold_constants import fold_constants
from l0compile.rewrite.normalize.fold_gates import fold_gates
from l0compile.rewrite.normalize.matmul_to_linear import matmul_to_linear
from l0compile.rewrite.normalize.plain_arithmetic import plain_arithmetic
from l0compile.rewrite.normalize.shuffles_to_selects import shuffles_to_selects
from l0compile.rewrite.normalize.simplify_masks import simplify_masks
from l0compile.rewrite.normalize.split_linear import split_linear
from l0compile.rewrite.normalize.splits_to_slices import splits_to_slices
from l0compile.rewrite.normalize.strides_to_rows import strides_to_rows
from l0compile.rewrite.regions import survey
from l0compile.rewrite.runner import Pass, pass_name, run

USES_ZEROS = {"drop_dead", "narrow", "compact", "choose_formats"}
"""Names of the passes that a dense compile leaves out."""
_FLUSH = "flush_denormals"


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
        target: supplies the legal block shapes and their efficiency. costs: of kernels on it, which go before that.
        ignore_zeros: leave out the passes that make use of zeros, for a dense model to compare with.
        max_rewrites: see :func:`l0compile.rewrite.runner.run`.

    Raises:
        RewriteError: a pass broke the program; nothing is returned then.
    """
    wanted = _without(USES_ZEROS, steps(target)) if ignore_zeros else steps(target, costs)
    return run(program, wanted, max_rewrites=max_rewrites)


def pack_tokens(program: Program, *, lanes: int, rows: int) -> Program:
    """Bring an optimised program into the layout of the CPU kernels; see ``assign_layout`` for the arguments."""
    return run(
        program,
        [
            untranspose,
            partial(assign_planes, rows=rows),
            fuse_conv_epilogue,
            partial(spell_out, norms=False),  # what is elementwise can then stay packed
            partial(assign_layout, lanes=lanes, rows=rows),
            fuse_epilogue,
            spell_out,  # norms and attention that no kernel takes
        ],
    )


def compact(program: Program) -> Program:
    """Use the zeros that free whole channels: the same function in fewer and smaller dense ATen operators.

    The part of :func:`optimise` that needs no target and introduces no operator of ours, so that the result is
    ordinary PyTorch: denormal weights are kept. Raises RewriteError as ``optimise`` does.
    """
    return run(program, _without({_FLUSH}, [*normal_form_steps(), *compaction_steps()]))


def optimise_dense(program: Program, *, ignore_zeros: bool = False, denormals: bool = False) -> Program:
    """What :func:`optimise` does before it looks at the target: all weights are still dense. Same errors.

    ``denormals``: keep denormal weights.
    """
    return run(program, _without(USES_ZEROS if ignore_zeros else set(), dense_steps(denormals)))


def lost_denormals(program: Program) -> bool:
    """Whether a pass that made ``program`` has set denormal weights to zero."""
    return any(record.name == _FLUSH and record.changed for record in program.history)


def choose(program: Program, target: Target, costs: Costs | None = None) -> Program:
    """The rest of :func:`optimise` for a result of :func:`optimise_dense`: a format for each weight. Same errors."""
    return run(program, format_steps(target, costs))


def steps(target: Target, costs: Costs | None = None) -> list[Pass]:
    """The passes of :func:`optimise` in order."""
    return [*dense_steps(), *format_steps(target, costs)]


def dense_steps(denormals: bool = False) -> list[Pass]:
    """The passes that do not depend on the target. ``denormals``: keep denormal weights."""
    passes = [
        *normal_form_steps(fuse_complex_rope),  # before a layer is split into even and odd features
        fuse_rope,
        fuse_attention,
        canonicalize,  # cancels the transposes that attention no longer needs
        *compaction_steps(),
    ]
    return _without({_FLUSH}, passes) if denormals else passes


def format_steps(target: Target, costs: Costs | None = None) -> list[Pass]:
    """How what is left is stored."""
    return [partial(choose_formats, target=target, costs=costs)]


def normal_form_steps(*early: Pass) -> list[Pass]:
    """The same operators written one way; what does not depend on the inputs is computed.

    early: passes to run on pairs of reals that stand for complex numbers, before what feeds them is taken apart.
    """
    return [
        strides_to_rows,  # while values still lie in memory as they did when the model was traced
        plain_arithmetic,
        canonicalize,
        complex_to_pairs,
        merge_equal,
        *early,
        fold_constants,  # gates on weights, and index arithmetic on fixed sizes
        matmul_to_linear,
        canonicalize,  # reshapes around what was a product of matrices
        split_linear,  # each of a fused query, key and value projection has zeros of its own
        splits_to_slices,  # those that no linear layer feeds
        shuffles_to_selects,
        fold_batch_norm,
        simplify_masks,  # a padding mask reaches attention as [batch, 1, 1, keys]
        fuse_rms_norm,
        fuse_gelu,
        fuse_eager_attention,
        merge_equal,
    ]


def compaction_steps() -> list[Pass]:
    """What is dead goes; dense operators stay dense, and no operator is introduced that was not there."""
    return [
        fold_gates,
        flush_denormals,  # after gates were multiplied in, before zeros are counted
        survey,  # from here on each layer's fate is written down
        drop_dead,
        narrow,  # what compaction alone would have to leave
        compact_channels,
        drop_dead,  # what compaction left neutral
        flush_denormals,  # constants folded into biases
        canonicalize,
    ]


def _without(names: set[str], passes: list[Pass]) -> list[Pass]:
    return [step for step in passes if pass_name(step) not in names]
