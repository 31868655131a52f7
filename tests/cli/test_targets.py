"""``l0compile targets``: names, facts, and files of the user's own."""

import json
from pathlib import Path

from l0compile.hardware.targets import list_targets, shipped_folder


def test_list_names_every_target_and_says_which_run_here(cli) -> None:
    code, out, _ = cli("targets")
    assert code == 0
    assert tuple(line.split()[0] for line in out.splitlines()) == list_targets()
    assert out.splitlines()[0].endswith("runs here")
    cuda = [line for line in out.splitlines() if line.startswith("cuda")]
    assert cuda and all("no models yet" in line and "runs here" not in line for line in cuda)


def test_json_lists_the_same(cli) -> None:
    listed = json.loads(cli("targets", "--json")[1])["targets"]
    assert tuple(item["name"] for item in listed) == list_targets()
    assert listed[0]["runs_here"] is True and listed[0]["compiles_models"] is True
    assert [item["compiles_models"] for item in listed] == [item["kind"] == "llvm" for item in listed]


def test_show_gives_every_field(cli, tmp_path: Path) -> None:
    own = tmp_path / "board.toml"
    own.write_text((shipped_folder("targets") / "aarch64-neon.toml").read_text())
    shown = json.loads(cli("targets", "show", own, "--json")[1])
    assert shown["name"] == "board" and shown["triple"].startswith("aarch64")
    assert shown["efficiency"]["4x1"] > 0
    assert "vector_bits  128" in cli("targets", "show", own)[1]
