"""What a study remembers: it survives the storage, and studies of earlier versions are read."""

import json
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import DataError
from l0compile.studies.result import Latency
from l0compile.studies.study.state import FinalistRecord, StudyState, read_state, stage_key, write_state

# As versions before `StudyState` wrote it, the first finalist without its interval.
FINALIST = {
    "trial": 3,
    "qualities": [0.9, 0.95],
    "wanted": 1.0,
    "structure": "0123456789abcdef",
    "latency": {"median_ms": 2.0, "low_ms": 1.9, "high_ms": 2.2},
    "load": 0.98,
    "predicted_ms": 2.1,
    "gap": 0.001,
    "levels": {"up": [[4, 1], 7], "out (heads)": [None, 0]},
}
EARLIER: dict[str, Any] = {
    "made_with": "space text machine version 2",
    "price_ms": 0.25,
    "share": 0.7,
    "known weights": {"ffn": 1.5},
    "finalists": [FINALIST, {**FINALIST, "between": [0.97, 0.99]}],
    "last stage at 0.700000 of trial 3": FINALIST,
    "job": {"kind": "search", "trials": 3},
}


def study(**attributes: Any) -> optuna.study.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = optuna.create_study()
    for key, value in attributes.items():
        found.set_user_attr(key, value)
    return found


def test_a_study_of_an_earlier_version_is_read() -> None:
    found = read_state(study(**EARLIER))
    assert (found.price_ms, found.share, found.known_weights) == (0.25, 0.7, {"ffn": 1.5})
    assert found.made_with == EARLIER["made_with"] and found.job == EARLIER["job"]
    first, second = found.finalists
    assert first.latency == Latency(2.0, 1.9, 2.2) and first.qualities == (0.9, 0.95)
    assert first.levels == {"up": ((4, 1), 7), "out (heads)": (None, 0)}
    assert (first.between, second.between) == (None, (0.97, 0.99))
    assert found.last_stages == {stage_key(3, 0.7): first}


def test_what_is_written_is_what_an_earlier_version_wrote() -> None:
    empty = study()
    write_state(empty, read_state(study(**EARLIER)))
    written = json.loads(json.dumps(empty.user_attrs))
    # Two fields came later.
    latency = {**FINALIST["latency"], "predicted": False}
    first = {**FINALIST, "latency": latency, "between": None}
    assert written == {
        **EARLIER,
        "finalists": [first, {**EARLIER["finalists"][1], "latency": latency}],
        "last stage at 0.700000 of trial 3": first,
    }


NUMBERS = st.floats(0.01, 100.0)
RECORDS = st.builds(
    FinalistRecord,
    trial=st.integers(0, 99),
    qualities=st.lists(NUMBERS, min_size=1, max_size=3).map(tuple),
    wanted=NUMBERS,
    structure=st.text("0123456789abcdef", min_size=16, max_size=16),
    latency=st.builds(Latency, NUMBERS, NUMBERS, NUMBERS),
    load=NUMBERS,
    between=st.none() | st.tuples(NUMBERS, NUMBERS),
    predicted_ms=NUMBERS,
    gap=NUMBERS,
    levels=st.dictionaries(
        st.text(max_size=5),
        st.tuples(st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)), st.integers(0, 20)),
        max_size=3,
    ),
)
STATES = st.builds(
    StudyState,
    made_with=st.none() | st.text(),
    price_ms=st.none() | NUMBERS,
    share=st.none() | NUMBERS,
    known_weights=st.dictionaries(st.text(max_size=5), NUMBERS, max_size=3),
    finalists=st.lists(RECORDS, max_size=2).map(tuple),
    last_stages=st.dictionaries(st.builds(stage_key, st.integers(0, 9), NUMBERS), RECORDS, max_size=2),
)


@given(STATES)
def test_a_state_survives_the_storage(state: StudyState) -> None:
    kept = study()
    write_state(kept, state)
    assert read_state(kept) == state


@pytest.mark.parametrize("damaged", [3, [3], [{"trial": 1}], [{**FINALIST, "levels": {"up": 7}}]])
def test_damaged_finalists_are_told(damaged: object) -> None:
    with pytest.raises(DataError, match=r"^study: finalists: .*expected .*--resume"):
        read_state(study(finalists=damaged))
