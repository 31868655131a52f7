"""Files like UCI's, with made-up people whose income follows from education and gains."""

import random
from pathlib import Path

EDUCATION = ("Bachelors", "HS-grad", "Masters", "11th")


def write_people(folder: Path, training: int = 400, held_out: int = 200) -> Path:
    """Write ``adult.data`` and ``adult.test`` with what is odd about them: a comment, full stops, ``?``."""
    draw = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adult.data").write_text("".join(_line(draw, "") for _ in range(training)) + "\n")
    lines = ["|1x3 Cross validator\n", *(_line(draw, ".") for _ in range(held_out)), "\n"]
    (folder / "adult.test").write_text("".join(lines))
    return folder


def _line(draw: random.Random, end: str) -> str:
    education, gain = draw.choice(EDUCATION), draw.choice([0, 0, 0, 7688])
    rich = education in ("Bachelors", "Masters") and (gain > 0 or draw.random() < 0.4)
    cells = [
        draw.randint(17, 90), draw.choice(["Private", "?", "State-gov"]), draw.randint(12285, 1484705), education,
        EDUCATION.index(education) + 1, "Never-married", draw.choice(["Sales", "?"]), "Husband",
        draw.choice(["White", "Black"]), draw.choice(["Male", "Female"]), gain, 0, draw.randint(1, 99), "United-States",
    ]  # fmt: skip
    return ", ".join(map(str, cells)) + f", {'>50K' if rich else '<=50K'}{end}\n"
