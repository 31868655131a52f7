"""A user's file with functions that make models, good and bad."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l0compile.cli import main

SOURCE = """
import torch
from beside import WIDTH

def make():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    with torch.no_grad():
        model[0].weight[:24] = 0
        model[0].bias[:24] = 0
    return model.train(), (torch.randn(3, WIDTH),)

class Named(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(WIDTH, 4)

    def forward(self, x, *, scale, mask=None):
        return self.linear(x) * scale if mask is None else self.linear(x) * scale + mask

def named(batch=2):
    torch.manual_seed(0)
    return Named(), (torch.randn(batch, WIDTH),), {"mask": torch.ones(batch, 4), "scale": torch.tensor(2.0)}

def boom():
    raise RuntimeError("no weights here")

def wrong():
    return 3

def wrong_pair():
    return 3, 4

CONSTANT = 5
"""


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("WIDTH = 16")
    file = tmp_path / "user_model.py"
    file.write_text(SOURCE)
    return file


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process: exit code, standard output, standard error."""

    def run(*argv: Any) -> tuple[int, str, str]:
        code = main([str(arg) for arg in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
