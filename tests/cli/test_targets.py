"""``l0compile targets``: names, facts, and files of the user's own."""

import json
import os
from pathlib import Path

import pytest

from l0compile.hardware.targets import list_targets, read_cards, shipped_folder
from l0compile.kernels.cuda.toolchain import has_nvcc


def test_list_names_every_target_and_says_which_run_here(cli) -> None:
    code, out, _ = cli("targets")
    assert code == 0
    listed = [line for line in out.splitlines() if not line.startswith("here: ")]
    assert tuple(line.split()[0] for line in listed) == list_targets()
    assert out.splitlines()[0].endswith("runs here")
    cuda = [line for line in out.splitlines() if line.startswith("cuda")]
    assert cuda and all(
        "NVIDIA" in line and ("needs nvcc to compile" in line) != has_nvcc() and "no models" not in line
        for line in cuda
    )


def test_json_lists_the_same(cli) -> None:
    listed = json.loads(cli("targets", "--json")[1])["targets"]
    assert tuple(item["name"] for item in listed) == list_targets()
    assert listed[0]["runs_here"] is True and listed[0]["compiles_models"] is True
    assert [item["compiles_models"] for item in listed] == [
        item["kind"] == "llvm" or has_nvcc() for item in listed
    ]


def test_show_gives_every_field(cli, tmp_path: Path) -> None:
    own = tmp_path / "board.toml"
    own.write_text((shipped_folder("targets") / "aarch64-neon.toml").read_text())
    shown = json.loads(cli("targets", "show", own, "--json")[1])
    assert shown["name"] == "board" and shown["triple"].startswith("aarch64")
    assert shown["efficiency"]["4x1"] > 0
    assert "vector_bits  128" in cli("targets", "show", own)[1]


def test_show_may_be_left_out(cli) -> None:
    assert cli("targets", "cuda-sm90")[:2] == cli("targets", "show", "cuda-sm90")[:2]
    assert "H100" in cli("targets", "cuda-sm90")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cuda-sm91",), "did you mean 'cuda-sm90'"),
        (("shwo",), "expected list, show or the name of a target, got 'shwo'"),
        (("describe", "native"), "expected list or show before 'native', got 'describe'"),
        (("list", "native"), "run: l0compile targets native"),
    ],
)
def test_a_wrong_word_says_what_was_expected(cli, words: tuple[str, ...], message: str) -> None:
    code, out, err = cli("targets", *words)
    assert code == 1 and not out and message in err


def test_the_card_of_this_machine_is_named(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text(
        "#!/bin/sh\necho 'NVIDIA A40, 8.6, 46068, 570.1'\necho 'Tesla V100, 7.0, 16160, 570.1'\n"
    )
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    read_cards.cache_clear()
    try:
        out = cli("targets")[1]
        cards = json.loads(cli("targets", "--json")[1])["cards"]
    finally:
        read_cards.cache_clear()
    assert "here: NVIDIA A40, sm_86, 46068 MiB, driver 570.1: use cuda-sm86" in out
    assert "Tesla V100, sm_70, 16160 MiB, driver 570.1: no shipped target is for it" in out
    assert [card["target"] for card in cards] == ["cuda-sm86", None]
