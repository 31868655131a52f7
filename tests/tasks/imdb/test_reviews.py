"""Reading and splitting reviews of films."""

import gzip
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import DataError
from l0compile.tasks.data_folder import data_root
from l0compile.tasks.imdb.files import load_reviews
from l0compile.tasks.imdb.reviews import Review, clean, split_by_movie


def test_line_breaks_and_white_space_become_one_space() -> None:
    assert clean(" Good.<br /><br />Very <BR>good,\n\n<br/>I\tsay. ") == "Good. Very good, I say."
    assert clean("3 < 5 and <i>this</i> stays") == "3 < 5 and <i>this</i> stays"


def test_all_reviews_are_read_and_cleaned(reviews_folder: Path) -> None:
    found = load_reviews(reviews_folder)
    assert len(found.train) + len(found.validation) == 120 and len(found.held_out) == 120
    first = found.held_out[1]
    text = "Film 1 tells a story. The cast is wonderful and moving. I say: wonderful and moving. Well."
    assert first == Review(text, 1, "test0")
    assert {review.label for review in found.validation} == {0, 1}


def test_no_film_is_in_training_and_validation(reviews_folder: Path) -> None:
    found = load_reviews(reviews_folder)
    assert not {review.movie for review in found.train} & {review.movie for review in found.validation}
    assert 12 <= len(found.validation) <= 14
    assert load_reviews(reviews_folder) == found


@given(st.lists(st.integers(0, 12), min_size=2, max_size=80), st.floats(0.05, 0.6))
def test_a_split_keeps_films_together_and_loses_nothing(movies: list[int], share: float) -> None:
    reviews = [Review(str(number), number % 2, f"tt{movie}") for number, movie in enumerate(movies)]
    if len(set(movies)) < 2:
        with pytest.raises(DataError, match="two films at least, got 1"):
            split_by_movie(reviews, share)
        return
    rest, part = split_by_movie(reviews, share)
    assert sorted(rest + part, key=lambda review: int(review.text)) == reviews
    assert rest and part and not {r.movie for r in rest} & {r.movie for r in part}
    assert list(rest) == [review for review in reviews if review in set(rest)]


def test_a_missing_file_is_named_with_what_to_download(
    reviews_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(reviews_folder, tmp_path / "imdb")
    (folder / "test-03.jsonl.gz").unlink()
    with pytest.raises(
        DataError, match=r"expected test-03\.jsonl\.gz in .*imdb; download .*ai\.stanford\.edu"
    ):
        load_reviews(folder)
    monkeypatch.delenv("L0COMPILE_DATA", raising=False)
    with pytest.raises(DataError, match=r"train-00\.jsonl\.gz, .* set L0COMPILE_DATA"):
        load_reviews()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (
            "not json",
            r"train-02\.jsonl\.gz:2: expected a JSON object with text, label and movie, got 'not json",
        ),
        ('{"text": "Good.", "label": 1}', r":2: expected a JSON object with text, label and movie"),
        ("[1, 2]", r":2: expected a JSON object with text, label and movie"),
        ('{"text": "Good.", "label": 2, "movie": "tt1"}', r":2: expected text, label 0 or 1 .* label 2"),
        ('{"text": "Good.", "label": "1", "movie": "tt1"}', r"label '1'"),
        ('{"text": "  ", "label": 1, "movie": "tt1"}', r"expected text, label 0 or 1"),
        ('{"text": 7, "label": 1, "movie": "tt1"}', r"expected text, label 0 or 1 .* got text '7'"),
    ],
)
def test_a_wrong_line_is_named(reviews_folder: Path, tmp_path: Path, line: str, complaint: str) -> None:
    folder = shutil.copytree(reviews_folder, tmp_path / "imdb")
    with gzip.open(folder / "train-02.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write('{"text": "Good.", "label": 1, "movie": "tt1"}\n' + line + "\n")
    with pytest.raises(DataError, match=complaint):
        load_reviews(folder)


# With names: bytes would name themselves, and gzip writes the time into them, which differs between test workers.
@pytest.mark.parametrize(
    "content",
    [b"plain text", gzip.compress(b"x" * 1000, mtime=0)[:-12], gzip.compress(b"\xff\xfe", mtime=0)],
    ids=["plain", "cut", "no text"],
)
def test_a_damaged_file_is_named(reviews_folder: Path, tmp_path: Path, content: bytes) -> None:
    folder = shutil.copytree(reviews_folder, tmp_path / "imdb")
    (folder / "test-01.jsonl.gz").write_bytes(content)
    with pytest.raises(
        DataError, match=r"test-01\.jsonl\.gz can't be read as a gzip file .* download it again"
    ):
        load_reviews(folder)


def test_an_empty_part_is_refused(reviews_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(reviews_folder, tmp_path / "imdb")
    for shard in range(5):
        (folder / f"test-{shard:02d}.jsonl.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(DataError, match="no test review"):
        load_reviews(folder)


def test_the_digest_tells_other_training_data(reviews_folder: Path, tmp_path: Path) -> None:
    found = load_reviews(reviews_folder)
    assert found.digest() == load_reviews(reviews_folder).digest()
    folder = shutil.copytree(reviews_folder, tmp_path / "imdb")
    shutil.copy(folder / "train-00.jsonl.gz", folder / "train-01.jsonl.gz")
    assert load_reviews(folder).digest() != found.digest()


@pytest.mark.skipif(
    data_root() is None or not (data_root() / "imdb").is_dir(),  # type: ignore[operator]
    reason="L0COMPILE_DATA names no folder with imdb/",
)
def test_the_real_data_set() -> None:
    found = load_reviews()
    assert len(found.train) + len(found.validation) == len(found.held_out) == 25_000
    assert sum(review.label for review in found.held_out) == 12_500
    assert 2_400 <= len(found.validation) <= 2_600
    assert not any("<br" in review.text for review in found.held_out)


def unpacked(folder: Path) -> Path:
    """Write the archive's form: four reviews of each kind and part, two of each film."""
    for part in ("train", "test"):
        for label, name in enumerate(("neg", "pos")):
            (folder / part / name).mkdir(parents=True)
            for number in range(4):
                text = f"{part} {name} {number}<br />"
                (folder / part / name / f"{number}_{1 + 9 * label}.txt").write_text(text)
            urls = [
                f"http://www.imdb.com/title/tt{part}{number // 2}{label}/usercomments" for number in range(4)
            ]
            (folder / part / f"urls_{name}.txt").write_text(
                "\n".join(url.replace("train", "1").replace("test", "2") for url in urls) + "\n"
            )
    return folder


def test_the_unpacked_archive_is_read(tmp_path: Path) -> None:
    found = load_reviews(unpacked(tmp_path))
    assert sorted(review.text for review in found.held_out) == sorted(
        f"test {name} {number}" for name in ("neg", "pos") for number in range(4)
    )
    assert all(("pos" in review.text) == bool(review.label) for review in found.train + found.validation)
    assert {review.movie for review in found.held_out} == {"tt200", "tt210", "tt201", "tt211"}
    assert [review.label for review in found.held_out] != sorted(review.label for review in found.held_out)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    folder = unpacked(tmp_path)
    (folder / "train" / "urls_pos.txt").write_text("http://www.imdb.com/title/tt1/usercomments\n")
    with pytest.raises(
        DataError, match=r"train: expected urls_pos\.txt with a film for each .* unpack aclImdb"
    ):
        load_reviews(folder)
