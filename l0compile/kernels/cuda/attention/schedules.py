"""How an attention kernel cuts its work: tiles, warps, and where everything lies in shared memory."""

from dataclasses import dataclass

from l0compile.errors import BuildError, ScheduleError
from l0compile.hardware.costs import KernelWorkload
from l0compile.hardware.targets import Target
from l0compile.kernels.cuda.architecture import has_ampere_instructions, shared_bytes
from l0compile.kernels.cuda.attention.spec import CudaAttentionSpec, CudaBlockAttentionSpec
from l0compile.kernels.definition import Schedules

AnyAttentionSpec = CudaAttentionSpec | CudaBlockAttentionSpec

_FRAGMENT = 16  # rows, and depth, of a product of tensor cores
_CHUNK_BYTES = 16  # of the widest copy
_HELD = 32  # registers of a lane for queries, of which sums and scores leave no more
RING = 3  # steps whose numbers of keys are kept: one in use, one loading, one ahead


@dataclass(frozen=True)
class CudaAttentionSchedule:
    """The tiles of one thread block.

    Attributes:
        queries: of a thread block; each warp has an equal share of them.
        keys: of a step.
        warps: of a thread block.
        stages: steps whose keys and values are in shared memory: 2 load one while they compute another.
    """

    queries: int
    keys: int
    warps: int
    stages: int

    @property
    def threads(self) -> int:
        return 32 * self.warps

    @property
    def warp_rows(self) -> int:
        """Queries of a warp."""
        return self.queries // self.warps


@dataclass(frozen=True)
class SharedPlan:
    """Where tiles lie in shared memory. Rows are one chunk of 16 bytes longer than their features, so that eight rows
    begin in different banks.

    Attributes:
        key_row: numbers of a row of keys or queries.
        value_row: numbers of a row of values or results.
        stage: bytes of a stage: its keys, then its values.
        queries: byte where queries are, at first or always.
        weights: byte where weights are, of kernels without tensor cores.
        numbers: byte where the numbers of listed keys are.
        bytes: of all.
    """

    key_row: int
    value_row: int
    stage: int
    queries: int
    weights: int
    numbers: int
    bytes: int


def shared_plan(spec: AnyAttentionSpec, schedule: CudaAttentionSchedule) -> SharedPlan:
    """Lay out the tiles. Queries that go to registers, and results, take the place of keys and values."""
    own = attention_of(spec)
    chunk = _CHUNK_BYTES // own.bytes
    key_row = _up(own.dim, _FRAGMENT if own.tensor_cores else chunk) + chunk
    value_row = _up(own.value_dim, _FRAGMENT if own.tensor_cores else 32) + chunk
    stage = schedule.keys * (key_row + value_row) * own.bytes
    queries, results = (schedule.queries * row * own.bytes for row in (key_row, value_row))
    stages = schedule.stages * stage
    if own.tensor_cores:
        passing = held_depth(own, schedule) * _FRAGMENT >= own.dim
        place = stage * (schedule.stages - 1) if passing else max(stages, results)
        weights, numbers = 0, max(stages, place + queries, results)
    else:
        place = max(stages, results)
        weights = place + queries
        numbers = weights + schedule.queries * weight_row(schedule) * own.bytes
    listed = RING * schedule.keys * 8 if isinstance(spec, CudaBlockAttentionSpec) else 0
    return SharedPlan(key_row, value_row, stage, place, weights, numbers, numbers + listed)


def held_depth(spec: CudaAttentionSpec, schedule: CudaAttentionSchedule) -> int:
    """How many fragments of each of its tiles of queries a warp holds in registers; it reads others in each step."""
    return min(_up(spec.dim, _FRAGMENT) // _FRAGMENT, _HELD // (4 * schedule.warp_rows // _FRAGMENT))


def weight_row(schedule: CudaAttentionSchedule) -> int:
    """Numbers of a row of weights in shared memory."""
    return schedule.keys + 4


def attention_of(spec: AnyAttentionSpec) -> CudaAttentionSpec:
    """What both kernels share."""
    return spec.attention if isinstance(spec, CudaBlockAttentionSpec) else spec


def check(spec: AnyAttentionSpec, target: Target, schedule: CudaAttentionSchedule) -> SharedPlan:
    """The plan of a schedule that fits.

    Raises:
        ScheduleError: it does not.
        BuildError: the device does not compute with such numbers.
    """
    plan, own = shared_plan(spec, schedule), attention_of(spec)
    if own.dtype == "bfloat16" and not has_ampere_instructions(target):
        raise BuildError(
            f"cuda attention: expected sm_80 or later for bfloat16, got {target.cpu}; take float16"
        )
    most = shared_bytes(target)
    rows = _FRAGMENT if own.tensor_cores else 4
    whole = schedule.warps > 0 and schedule.queries % (schedule.warps * rows) == 0 and schedule.keys % 16 == 0
    if not whole or schedule.stages not in (1, 2) or plan.bytes > most:
        raise ScheduleError(
            f"cuda attention: expected whole tiles, 1 or 2 stages and at most {most} bytes of shared memory on "
            f"{target.cpu}, got {schedule} with {plan.bytes} bytes"
        )
    return plan


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _tiles(spec: AnyAttentionSpec) -> list[int]:
    """Tiles of queries, largest first: no larger than a row, and of float32 than what leaves place for keys."""
    most = 128 if attention_of(spec).tensor_cores else 64
    if isinstance(spec, CudaBlockAttentionSpec):
        most = min(most, max(_FRAGMENT, _up(spec.q_block, _FRAGMENT)))
    return [queries for queries in (128, 64, 32, 16) if queries <= most]


def _light(spec: AnyAttentionSpec) -> bool:
    """A score takes no more than a mask of its key: nothing else needs registers beside the sums."""
    own = attention_of(spec)
    added = own.bias is not None or own.softcap or (own.mask is not None and own.mask.full[2])
    return not added and not (isinstance(spec, CudaBlockAttentionSpec) and spec.partial)


def _shapes(spec: AnyAttentionSpec, target: Target, queries: int) -> list[tuple[int, int]]:
    """(keys of a step, queries of a warp), best first of those that registers are enough for, as ptxas tells.

    Warps with 32 queries read each key and value for twice as many products as those with 16.
    """
    own, light = attention_of(spec), _light(spec)
    widest = max(own.dim, own.value_dim)
    if not own.tensor_cores:
        return [(32, 16)] if light else [(16, 16), (32, 16)]
    narrow = [(32, 16)] if widest > 96 and not light else [(64, 16), (32, 16)]
    if queries < 128 or not light or widest > 96 or not has_ampere_instructions(target):
        return narrow
    return [(64 if widest <= 64 else 32, 32), *narrow]


def _candidates(spec: AnyAttentionSpec, target: Target) -> list[CudaAttentionSchedule]:
    """Those that fit, best first by what is known of such kernels: large tiles, then loads behind products."""
    own = attention_of(spec)
    narrow = own.tensor_cores or max(own.dim, own.value_dim) <= 64
    stages = (1,) if not has_ampere_instructions(target) else (2, 1) if narrow else (1, 2)
    found = [
        CudaAttentionSchedule(queries, keys, queries // share, stage)
        for queries in _tiles(spec)
        for keys, share in _shapes(spec, target, queries)
        for stage in stages
    ]
    most = shared_bytes(target)
    return [schedule for schedule in found if shared_plan(spec, schedule).bytes <= most]


def _default(spec: AnyAttentionSpec, target: Target) -> CudaAttentionSchedule:
    return _candidates(spec, target)[0]


def _legal(spec: AnyAttentionSpec, target: Target) -> tuple[CudaAttentionSchedule, ...]:
    return tuple(_candidates(spec, target))


def _bound(schedule: CudaAttentionSchedule, _: Target) -> float:
    """Words of shared memory that a warp reads for each of its products."""
    return 1 / schedule.warp_rows


def _blocks(spec: AnyAttentionSpec, schedule: CudaAttentionSchedule, workload: KernelWorkload) -> int:
    """One for each tile of queries of a head of a sequence."""
    queries = workload.shape[4]
    return workload.tokens // queries * attention_of(spec).heads * -(-queries // schedule.queries)


ATTENTION_SCHEDULES = Schedules(CudaAttentionSchedule, _default, _legal, _bound, _blocks)
