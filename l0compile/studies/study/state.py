"""What a study remembers beside its trials. Only this file reads and writes these attributes of the study."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from l0compile.ir.codec import Positive, decode, encode
from l0compile.studies.pruning.level import Numbers, Shape
from l0compile.studies.result import Latency

if TYPE_CHECKING:
    import optuna

T = TypeVar("T")
_LAST_STAGE = "last stage at "


@dataclass(frozen=True)
class FinalistRecord:
    """A finalist on file; its allocation is kept by the numbers of its levels.

    trial: the number of the trial it was made from. qualities: after each round of training. wanted: its budget over
    the search's. structure: hash of the live weights. load: latency over the search's budget; between: its interval.
    predicted_ms: before it was measured. gap: of the allocation. levels: layer -> (block shape, number of the level).
    precisions: of the layers that are not float32.
    """

    trial: int
    qualities: tuple[float, ...]
    wanted: float
    structure: str
    latency: Latency
    load: float
    between: tuple[float, float] | None = field(default=None, kw_only=True)  # missing in earlier versions
    predicted_ms: float
    gap: float
    levels: Mapping[str, tuple[Shape | None, int]]
    precisions: Mapping[str, Numbers] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class StudyState:
    """Everything that a study remembers beside its trials.

    made_with: what trials depend on; a search with something else can't resume the study. job: what workers evaluate.
    price_ms: the predicted time of the layers in every trial, in milliseconds. share: under a quality target, the
    first budget over the dense latency. known_weights: group of gates -> the factor that trials draw around.
    finalists: in the order they were fitted. last_stages: by `stage_key`, the last stage of a winner that gets its
    zeros in stages.
    """

    made_with: str | None = None
    job: Mapping[str, Any] | None = None
    price_ms: float | None = None
    share: float | None = None
    known_weights: Mapping[str, float] = field(default_factory=dict)
    finalists: tuple[FinalistRecord, ...] = ()
    last_stages: Mapping[str, FinalistRecord] = field(default_factory=dict)


def stage_key(trial: int, wanted: float) -> str:
    """Return the key of a last stage: the trial's number and the budget that the winner was made for."""
    return f"{wanted:.6f} of trial {trial}"


def made_with(study: "optuna.study.Study") -> str | None:
    """Return what a study was made with, whatever version of l0compile made it."""
    return study.user_attrs.get("made_with")


def read_state(study: "optuna.study.Study") -> StudyState:
    """Read what a study remembers.

    Raises:
        StorageError: an attribute is not what this version writes.
    """
    attributes = study.user_attrs
    stages = {key: data for key, data in attributes.items() if key.startswith(_LAST_STAGE)}
    return StudyState(
        made_with(study),
        attributes.get("job"),
        attributes.get("price_ms"),
        attributes.get("share"),
        decode(attributes.get("known weights", {}), dict[str, Positive], "study: known weights"),
        _stored(attributes.get("finalists", []), tuple[FinalistRecord, ...]),
        {key.removeprefix(_LAST_STAGE): _stored(data, FinalistRecord) for key, data in stages.items()},
    )


def write_state(study: "optuna.study.Study", state: StudyState) -> None:
    """Write what has changed."""
    known = study.user_attrs
    for key, value in _attributes(state).items():
        if value is not None and known.get(key) != value:
            study.set_user_attr(key, value)


def _attributes(state: StudyState) -> dict[str, Any]:
    stages = {_LAST_STAGE + key: _plain(record) for key, record in state.last_stages.items()}
    return {
        "made_with": state.made_with,
        "job": state.job and dict(state.job),
        "price_ms": state.price_ms,
        "share": state.share,
        "known weights": dict(state.known_weights) or None,
        "finalists": [_plain(record) for record in state.finalists] or None,
        **stages,
    }


def _plain(record: FinalistRecord) -> Any:
    # Through JSON, so that it equals what the storage gives back: there are no tuples.
    plain = json.loads(json.dumps(encode(record)))
    if not record.precisions:
        del plain["precisions"]
    return plain


def _stored(data: Any, kind: type[T]) -> T:
    return decode(data, kind, "study: finalists", advice="leave --resume out to start anew")
