"""One worker in this process: what is told, what is tried again, and what counts when others interfere."""

import threading
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, Trial, TrialState

from l0compile.errors import BuildError, DataError
from l0compile.studies.workers.pulse import MISSED, Heard, listen
from l0compile.studies.workers.retry import ATTEMPTS, RETRY_OF, interrupted, retry_dead
from l0compile.studies.workers.storage import open_storage
from l0compile.studies.workers.worker import DRAWS, FAILURES, STRUCTURE, work

BEAT_S = 0.03


@pytest.fixture
def study(tmp_path: Path) -> optuna.study.Study:
    return another(tmp_path)


def another(folder: Path) -> optuna.study.Study:
    """The study as another process would see it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=open_storage(f"sqlite:///{folder}/study.sqlite"),
        study_name="s",
        sampler=optuna.samplers.RandomSampler(seed=0),
        load_if_exists=True,
    )


def x_of(trial: Trial) -> float:
    return trial.suggest_float("x", 0, 1)


def states(study: optuna.study.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def test_it_completes_what_is_missing_and_tells_of_its_own(study: optuna.study.Study) -> None:
    told: list[FrozenTrial] = []
    assert work(study, x_of, 3, on_trial=told.append) == 3
    assert work(study, x_of, 5, on_trial=told.append) == 2
    assert work(study, x_of, 5) == 0
    assert [trial.number for trial in told] == [0, 1, 2, 3, 4] and states(study) == ["COMPLETE"] * 5
    assert all(trial.value == trial.params["x"] for trial in told)


def test_trials_of_one_structure_count_once(study: optuna.study.Study) -> None:
    def objective(trial: Trial) -> float:
        trial.set_user_attr(STRUCTURE, f"{trial.number // 2}")  # every second one has been seen
        return x_of(trial)

    assert work(study, objective, 6) == 11
    assert len({trial.user_attrs[STRUCTURE] for trial in study.trials}) == 6


def test_a_space_of_few_structures_comes_to_an_end(study: optuna.study.Study) -> None:
    def objective(trial: Trial) -> float:
        trial.set_user_attr(STRUCTURE, "the only one")
        return x_of(trial)

    assert work(study, objective, 4) == len(study.trials) == 4 * DRAWS
    assert work(study, objective, 4) == 0


def test_it_can_be_stopped_between_trials(study: optuna.study.Study) -> None:
    assert work(study, x_of, 9, stop=lambda: len(study.trials) == 2) == 2


def test_the_seed_of_the_sampler_is_not_shared(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        work(another(tmp_path / name), x_of, 1)
    assert another(tmp_path / "a").trials[0].params != another(tmp_path / "b").trials[0].params


def test_an_error_of_ours_and_a_value_that_is_none_are_failed_trials(study: optuna.study.Study) -> None:
    def objective(trial: Trial) -> float:
        x_of(trial)
        if trial.number == 0:
            raise BuildError("no such kernel")
        return float("nan") if trial.number == 1 else 1.0

    assert work(study, objective, 1) == 1
    assert states(study) == ["FAIL", "FAIL", "COMPLETE"]
    assert study.trials[0].user_attrs["error"] == "BuildError: no such kernel"
    assert "got nan" in study.trials[1].user_attrs["error"]


def test_errors_without_end_are_raised(study: optuna.study.Study) -> None:
    def objective(trial: Trial) -> float:
        raise BuildError("never")

    with pytest.raises(BuildError, match="never"):
        work(study, objective, 1)
    assert states(study) == ["FAIL"] * FAILURES


def test_a_defect_passes_through_and_is_not_tried_again(study: optuna.study.Study) -> None:
    def objective(trial: Trial) -> float:
        return x_of(trial) / 0

    with pytest.raises(ZeroDivisionError):
        work(study, objective, 1)
    assert study.trials[0].user_attrs["error"].startswith("ZeroDivisionError")
    assert interrupted(study.trials) == []


def test_an_interrupted_trial_is_given_back_with_its_choices(study: optuna.study.Study) -> None:
    study.enqueue_trial({"x": 0.25}, user_attrs={"sweep": 2})

    def objective(trial: Trial) -> float:
        x_of(trial)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(study, objective, 1)
    assert states(study) == ["FAIL", "WAITING"]
    assert work(study, x_of, 1) == 1
    again = study.trials[1]
    assert again.params == {"x": 0.25} and again.user_attrs["sweep"] == 2 and again.user_attrs[RETRY_OF] == 0


def test_a_worker_that_died_before_its_first_heartbeat_is_noticed(
    study: optuna.study.Study, tmp_path: Path
) -> None:
    study.enqueue_trial({"x": 0.5})
    another(tmp_path).ask()  # and never heard of again
    assert work(study, x_of, 1, heartbeat_s=BEAT_S) == 1
    assert states(study) == ["FAIL", "COMPLETE"] and study.trials[1].params == {"x": 0.5}


def test_the_result_of_a_worker_thought_dead_is_dropped(study: optuna.study.Study, tmp_path: Path) -> None:
    other = another(tmp_path)

    def objective(trial: Trial) -> float:
        value = x_of(trial)
        if trial.number == 0:
            retry_dead(other, [0])
            assert work(other, x_of, 1) == 1
        return value

    assert work(study, objective, 1) == 0
    assert states(study) == ["FAIL", "COMPLETE"]
    assert study.trials[0].params == study.trials[1].params


def test_a_trial_retried_by_two_at_once_counts_once(study: optuna.study.Study) -> None:
    first = study.ask()
    x_of(first)
    study.tell(first, state=TrialState.FAIL)
    (lost,) = interrupted(study.trials)
    for _ in range(2):  # as when both looked before either enqueued
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.WAITING,
                params=lost.params,
                distributions=lost.distributions,
                user_attrs={RETRY_OF: 0},
            )
        )
    assert work(study, x_of, 2) == 2
    assert states(study) == ["FAIL", "COMPLETE", "FAIL", "COMPLETE"]
    assert study.trials[2].user_attrs["error"] == "the same as trial 1"
    assert study.trials[1].params == first.params != study.trials[3].params


def test_a_trial_that_takes_every_worker_down_is_given_up(study: optuna.study.Study) -> None:
    study.enqueue_trial({"x": 0.5})
    for _ in range(ATTEMPTS + 2):
        retry_dead(study, [study.ask().number])
    assert [trial.system_attrs.get("fixed_params") for trial in study.trials].count({"x": 0.5}) == ATTEMPTS


def test_a_waiting_trial_is_given_to_one_of_many(study: optuna.study.Study, tmp_path: Path) -> None:
    for number in range(12):
        study.enqueue_trial({"x": number / 12})
    gate = threading.Barrier(3)

    def take() -> None:
        own = another(tmp_path)
        gate.wait()
        for _ in range(4):
            x_of(own.ask())

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(trial.params["x"] for trial in study.trials) == [number / 12 for number in range(12)]


@given(st.lists(st.booleans(), max_size=60), st.sampled_from([0.5, 1.0, 4.0]))
def test_only_silence_while_listening_is_death(beats: list[bool], every_s: float) -> None:
    known: dict[int, Heard] = {}
    count = silent = 0
    for beat in [True, *beats]:
        count += beat
        silent = 0 if beat else silent + 1
        running = [frozen({"count": count, "every_s": every_s})]
        known = listen(known, running, 1.0)
        assert known[0].dead(1.0) == (silent >= MISSED * max(1.0, every_s))
    assert listen(known, [], 1.0) == {}
    # A storage that was away, or a listener that was suspended, heard nothing in time that does not count.
    assert listen(known, running, 0.0)[0].quiet_s == known[0].quiet_s


def frozen(beat: dict[str, float]) -> FrozenTrial:
    trial = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"heartbeat": beat})
    trial.number = 0
    return trial


def test_a_storage_that_stays_away_ends_the_work(study: optuna.study.Study, tmp_path: Path) -> None:
    def objective(trial: Trial) -> float:
        (tmp_path / "study.sqlite").write_bytes(b"not a database" * 100)
        return 1.0

    with pytest.raises(DataError, match="completed trials are kept"):
        work(study, objective, 1, heartbeat_s=BEAT_S, patience_s=0.3)
