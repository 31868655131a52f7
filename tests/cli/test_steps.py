"""Commands that compile say what they are at, and leave logging as it was."""

import logging
import re

import pytest
import torch

import l0compile as l0
from l0compile.cli.steps import told


def test_steps_are_told_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("l0compile")
    before = log.level, log.propagate, list(log.handlers)
    with told():
        l0.compile(torch.nn.Linear(4, 4).eval(), (torch.randn(2, 4),))
        log.warning("told as well")
    assert (log.level, log.propagate, list(log.handlers)) == before
    out, err = capsys.readouterr()
    assert not out
    lines = err.splitlines()
    assert all(re.match(r" +\d+ s  \w", line) for line in lines)
    steps = [
        "capturing",
        "rewriting",
        "generating code",
        "comparing",
        "preparing",
        "comparing",
        "timing",
        "warning: told",
    ]
    assert [step for step, line in zip(steps, lines, strict=True) if step in line] == steps
