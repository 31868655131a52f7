"""A search as a job: workers evaluate as the process that began it does, with its prices."""

import json
from pathlib import Path

import optuna
import pytest
from instant import make_evaluator

from l0compile.errors import ConfigError
from l0compile.hardware.targets import load_target
from l0compile.studies.fit.evaluate import evaluate_trial
from l0compile.studies.fit.search_job import objective_of, post_job, read_job, search_job
from l0compile.studies.pruning.prices import LinearCall, Prices, PriceTable
from l0compile.studies.space.space import Space
from l0compile.studies.space.space_json import space_from_json, space_to_json
from l0compile.studies.workers.jobs import wanted_of


@pytest.fixture(scope="module")
def prices() -> Prices:
    return Prices(load_target("native"), None)


def test_a_space_goes_through_json(space: Space) -> None:
    assert space_from_json(json.loads(json.dumps(space_to_json(space)))) == space


def test_a_space_of_another_version_is_refused(space: Space) -> None:
    data = space_to_json(space)
    with pytest.raises(ConfigError, match=r"^job: space: colour: unknown key; .*; install the same version"):
        space_from_json({**data, "colour": "blue"})
    with pytest.raises(ConfigError, match=r"^job: space: gates: is missing; expected a list"):
        space_from_json({name: value for name, value in data.items() if name != "gates"})


def test_a_table_tells_the_prices_it_was_made_of(prices: Prices) -> None:
    site, shapes = LinearCall((64, 32), 8), [(4, 1), (8, 8)]
    table = PriceTable.of(prices, [(site, shapes)])
    assert table.ms(site, None, 1.0) == prices.ms(site, None, 1.0)
    assert table.ms(site, (4, 1), 0.0) == 0.0
    for block in shapes:
        for density in (0.05, 0.123, 0.5, 0.77, 1.0):
            assert table.ms(site, block, density) == pytest.approx(prices.ms(site, block, density), rel=0.02)
    with pytest.raises(ConfigError, match="64x32x9 / 4x1"):
        table.ms(LinearCall((64, 32), 9), (4, 1), 0.5)


def test_a_worker_finds_what_the_search_finds(space: Space, prices: Prices, tmp_path: Path) -> None:
    evaluator = make_evaluator(space, tmp_path)
    price = 0.4 * evaluator.menu.dense_ms
    study = optuna.create_study(direction="maximize")
    post_job(study, search_job(space, evaluator, prices, price))
    job = json.loads(json.dumps(read_job(study)))
    assert wanted_of(job) == space.effort.trials
    objective = objective_of(job, tmp_path / "worker")
    params = {"tilt.blocks": 0.5, "weight.blocks": 2.0}
    study.enqueue_trial(params)
    theirs = study.ask()
    found = objective(theirs)
    study.enqueue_trial(params)
    ours = evaluate_trial(study.ask(), space, evaluator, price)
    # A price between two tabled ones may tip a level of one layer.
    assert found == pytest.approx(ours.quality, abs=0.02)
    assert theirs.user_attrs["price_ms"] <= price
    assert any((tmp_path / "worker" / "candidates").iterdir())


def test_a_worker_with_other_data_says_so(space: Space, prices: Prices, tmp_path: Path) -> None:
    evaluator = make_evaluator(space, tmp_path)
    job = search_job(space, evaluator, prices, evaluator.menu.dense_ms)
    objective = objective_of({**job, "source": "other text"}, tmp_path)
    with pytest.raises(ConfigError, match="expected the data 'other text', this machine has 'random tokens'"):
        objective(optuna.create_study().ask())


@pytest.mark.parametrize("key", ["space", "prices", "shapes", "parts", "price_ms"])
def test_a_job_that_lacks_something_is_refused(
    space: Space, prices: Prices, tmp_path: Path, key: str
) -> None:
    evaluator = make_evaluator(space, tmp_path)
    job = search_job(space, evaluator, prices, 1.0)
    del job[key]
    with pytest.raises(ConfigError, match=rf"^job: {key}: is missing; expected .*; install the same version"):
        objective_of(job, tmp_path)
