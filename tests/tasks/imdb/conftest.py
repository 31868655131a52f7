"""A folder of made-up reviews in the form of the real ones."""

import gzip
import json
from pathlib import Path

import pytest

WORDS = {0: ("awful", "boring", "a waste of time"), 1: ("wonderful", "moving", "a joy to watch")}


def review(number: int, part: str) -> dict[str, object]:
    """Return a line of the data; three reviews in a row are of one film, and labels take turns."""
    label = number % 2
    words = " and ".join(WORDS[label][: 1 + number % 3])
    text = f"Film {number} tells a story.<br /><br />The cast is {words}.  I say: {words}." + " Well." * (
        number % 7
    )
    return {
        "id": number,
        "label": label,
        "rating": 9 * label + 1,
        "movie": f"{part}{number // 3}",
        "text": text,
    }


def write(folder: Path, reviews: int = 24) -> Path:
    """Write shards of ``reviews`` reviews each."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        for shard in range(5):
            numbers = range(shard * reviews, (shard + 1) * reviews)
            with gzip.open(folder / f"{part}-{shard:02d}.jsonl.gz", "wt", encoding="utf-8") as file:
                file.writelines(json.dumps(review(number, part)) + "\n" for number in numbers)
    return folder


@pytest.fixture(scope="session")
def reviews_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 120 training and 120 test reviews."""
    return write(tmp_path_factory.mktemp("imdb"))
