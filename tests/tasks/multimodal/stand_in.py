"""A small file of reviews, in the form of the real one, whose label follows from words and, in doubt, the class."""

import random
from pathlib import Path

import pytest

from l0compile.tasks.multimodal.reviews import ReviewsOptions, ReviewsTask
from l0compile.tasks.multimodal.reviews_data import FILE

GOOD, BAD, PLAIN = (
    ("love", "perfect", "soft"),
    ("awful", "returned", "itchy"),
    ("dress", "the", "fit", "color", "size"),
)
SMALL = {"words": 12, "vocabulary": 40, "width": 16, "heads": 2, "steps": 60, "train_batch": 32, "batch": 8}


def columns(count: int, seed: int = 0) -> dict[str, list[object]]:
    """Make the columns of ``count`` reviews; a third of the texts say nothing, and then dresses are recommended."""
    draw = random.Random(seed)
    made: dict[str, list[object]] = {name: [] for name in (
        "Clothing ID", "Age", "Title", "Review Text", "Rating", "Recommended IND", "Positive Feedback Count",
        "Division Name", "Department Name", "Class Name",
    )}  # fmt: skip
    for number in range(count):
        kind, tone = draw.choice(("Dresses", "Pants", None)), draw.choice((GOOD, BAD, PLAIN))
        label = int(tone is GOOD or (tone is PLAIN and kind == "Dresses"))
        words = [*draw.choices(PLAIN, k=draw.randint(0, 6)), draw.choice(tone), f"w{number}"]
        row = (
            number, draw.randint(18, 90), draw.choice((None, "Nice!")), " ".join(words), 5 if label else 2, label,
            draw.randint(0, 30), "General", kind, kind,
        )  # fmt: skip
        for name, cell in zip(made, row, strict=True):
            made[name].append(cell)
    return made


def write(folder: Path, data: dict[str, list[object]]) -> Path:
    """Write a parquet file where a task looks for it below ``folder``."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (folder / "reviews").mkdir(exist_ok=True)
    parquet.write_table(pyarrow.table(data), folder / "reviews" / FILE, compression="brotli")
    return folder / "reviews" / FILE


def make_task(
    folder: Path, monkeypatch: pytest.MonkeyPatch, count: int = 400, **options: object
) -> ReviewsTask:
    """Make the task on ``count`` reviews, with its cache in ``folder`` too."""
    write(folder, columns(count))
    monkeypatch.setenv("L0COMPILE_DATA", str(folder))
    monkeypatch.setenv("L0COMPILE_CACHE", str(folder / "cache"))
    return ReviewsTask(ReviewsOptions(**{**SMALL, **options}))  # type: ignore[arg-type]
