"""UCI's files as they are: comments, full stops and unknown categories; the encoding is fitted on training alone."""

import os
from pathlib import Path

import pytest
import torch

from l0compile.errors import DataError
from l0compile.tasks.adult.census import CATEGORIES, NUMBERS, load_census
from l0compile.tasks.data_folder import DATA_VARIABLE
from tests.tasks.adult.people import write_people

REAL = Path(os.environ.get(DATA_VARIABLE, "nowhere")) / "adult"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("data") / "adult")


def test_parts_and_shapes(folder: Path) -> None:
    census = load_census(folder)
    assert [len(census.parts[part].labels) for part in ("train", "validation", "held_out")] == [320, 80, 200]
    for rows in census.parts.values():
        assert rows.numbers.shape == (len(rows.labels), len(NUMBERS)) and rows.numbers.dtype == torch.float32
        assert rows.categories.shape == (len(rows.labels), len(CATEGORIES))
        assert bool((rows.categories < torch.tensor(census.sizes)).all())
        assert 0.05 < float(rows.labels.double().mean()) < 0.6


def test_numbers_are_normal_by_rank(folder: Path) -> None:
    age = load_census(folder).parts["train"].numbers[:, 0]
    assert abs(float(age.mean())) < 0.05 and float(age.std()) == pytest.approx(1.0, abs=0.1)


def test_equal_numbers_get_the_middle_of_their_ranks(folder: Path) -> None:
    gains = load_census(folder).parts["train"].numbers[:, NUMBERS.index("capital-gain")]
    values = gains.unique()
    assert len(values) == 2 and abs(float(values[0])) < 0.6  # three quarters have none: rank 0.375


def test_a_category_that_training_never_saw_has_index_0(folder: Path, tmp_path: Path) -> None:
    other = write_people(tmp_path / "adult")
    text = (other / "adult.test").read_text()
    (other / "adult.test").write_text(text.replace("United-States", "Atlantis"))
    countries = load_census(other).parts["held_out"].categories[:, CATEGORIES.index("native-country")]
    assert set(countries.tolist()) == {0}
    assert 0 not in load_census(folder).parts["held_out"].categories[:, 0]


def test_held_out_people_do_not_change_the_encoding(folder: Path, tmp_path: Path) -> None:
    other = write_people(tmp_path / "adult", held_out=20)
    first, second = load_census(folder), load_census(other)
    assert torch.equal(first.parts["train"].numbers, second.parts["train"].numbers)
    assert first.digest != second.digest


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("<=50K", "poor"), r"adult\.data: line 1: expected 14 columns and one of <=50K, >50K, got 15 cells"),
        (("Never-married, ", ""), r"line 1: .*got 14 cells"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    folder = write_people(tmp_path / "adult")
    lines = [line for line in (folder / "adult.data").read_text().splitlines() if line.endswith("<=50K")]
    (folder / "adult.data").write_text("\n".join(lines).replace(*change, 1))
    with pytest.raises(DataError, match=complaint):
        load_census(folder)


def test_a_word_among_numbers_is_named(tmp_path: Path) -> None:
    folder = write_people(tmp_path / "adult")
    text = (folder / "adult.test").read_text()
    (folder / "adult.test").write_text(text.replace("\n", "\nold, ", 1))
    with pytest.raises(DataError, match=r"adult\.test: line 2: expected 14 columns"):
        load_census(folder)


def test_missing_files_are_told_with_the_place_to_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    with pytest.raises(
        DataError, match=r"adult\.data, adult\.test in a folder adult/ .*archive\.ics.*L0COMPILE_DATA"
    ):
        load_census()
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match="download them from"):
        load_census()


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{DATA_VARIABLE} does not name a folder with adult/")
def test_the_real_files() -> None:
    census = load_census()
    assert len(census.parts["held_out"].labels) == 16281
    assert len(census.parts["train"].labels) + len(census.parts["validation"].labels) == 32561
    assert float(census.parts["held_out"].labels.double().mean()) == pytest.approx(0.236, abs=1e-3)
