"""Cards: what the driver prints is read, and code runs on its own major version only."""

import os
from pathlib import Path

import pytest

from l0compile.hardware.targets import Card, read_cards, runs_on
from l0compile.hardware.targets.card import parse_cards


def test_lines_of_the_driver_are_read() -> None:
    text = "NVIDIA A100-SXM4-80GB, 8.0, 81920, 570.86.15\nNVIDIA B200, 10.0, 183359, 580.1\n"
    assert parse_cards(text) == (
        Card("NVIDIA A100-SXM4-80GB", "sm_80", 81920, "570.86.15"),
        Card("NVIDIA B200", "sm_100", 183359, "580.1"),
    )


@pytest.mark.parametrize("text", ["", "No devices were found\n", "GPU, [N/A], 5, 5\n", "a, 8.0, much, 1\n"])
def test_what_is_no_card_is_left_out(text: str) -> None:
    assert parse_cards(text) == ()


@pytest.mark.parametrize(("script", "cards"), [("echo 'GPU, 9.0, 81559, 550.1'", 1), ("exit 9", 0)])
def test_the_command_of_the_driver_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, cards: int
) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    read_cards.cache_clear()
    try:
        assert len(read_cards()) == cards
    finally:
        read_cards.cache_clear()


@pytest.mark.parametrize(
    ("code", "card", "runs"),
    [
        ("sm_80", "sm_80", True),
        ("sm_80", "sm_86", True),
        ("sm_86", "sm_80", False),
        ("sm_80", "sm_90", False),
        ("sm_90a", "sm_90", True),
        ("sm_100", "sm_103", True),
        ("sm_100a", "sm_103", False),
        ("sm_90", "sm_100", False),
    ],
)
def test_machine_code_runs_on_its_major_version(code: str, card: str, runs: bool) -> None:
    assert runs_on(code, card) is runs
