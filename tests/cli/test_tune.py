"""l0compile tune: Ctrl-C and resume, merge and export, and errors that say what to do."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from l0compile.cli import FAILED, INTERRUPTED, OK, main
from l0compile.hardware.costs import Database, write_records
from tests.hardware.costs.records import record


@pytest.mark.slow
def test_goes_on_after_ctrl_c(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes = [f"{n}x8" for n in range(8, 488, 8)]
    command = ["tune", *shapes, "--tokens", "64", "--quick", "--db", str(tmp_path / "db"), "--json"]
    process = subprocess.Popen([sys.executable, "-m", "l0compile", *command], stderr=subprocess.PIPE)
    with Database(tmp_path / "db") as database:
        while len(database) == 0 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=60)[1].decode()
        found = database.records()
    assert process.returncode == INTERRUPTED and told == "l0compile: interrupted\n" and 0 < len(found) < 60
    known = [f"{record.key.work.shape[0]}x8" for record in found[:3]]
    assert main(["tune", *known, "9x8", *command[len(shapes) + 1 :]]) == OK
    facts = json.loads(capsys.readouterr().out)
    assert (facts["works"], facts["measured"], facts["records"]) == (4, 1, len(found) + 1)


def test_merge_and_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here, there, out = (str(tmp_path / name) for name in ("here", "there", "out"))
    write_records(here, [record(2.0), record(1.0, tokens=8)])
    write_records(there, [record(1.5)])
    common = ["--db", str(tmp_path / "db"), "--export", out]
    assert main(["tune", "--merge", here, there, *common]) == OK
    assert "merged    3" in capsys.readouterr().out
    assert main(["tune", "--merge", out, *common, "--json"]) == OK
    assert json.loads(capsys.readouterr().out) == {
        "database": str(tmp_path / "db"), "merged": 0, "measured": 0, "works": 0, "records": 2, "new": 0, "exported": 2,
    }  # fmt: skip
    write_records(here, [record(1.5), record(1.0, tokens=8)])
    assert Path(here).read_text() == Path(out).read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune"], "nothing to do"),
        (["tune", "8x8", "--blocks", "4"], "--blocks: expected ROWSxCOLS"),
        (["tune", "model"], "expected MODULE:FUNCTION"),
        (["tune", "8x8", "--target", "aarch64-neon"], "does not run on this machine"),
        (["tune", "--merge", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_errors(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("L0COMPILE_COSTS", str(tmp_path / "db"))
    assert main(arguments) == FAILED
    assert message in capsys.readouterr().err


def test_switched_off_it_wants_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "8x8"]) == FAILED and "give --db FILE" in capsys.readouterr().err
