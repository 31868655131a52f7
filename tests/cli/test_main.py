"""Help teaches, wrong use is told from failure, and failure is one line on standard error."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import l0compile
from l0compile.cli.parser import build_parser

COMMANDS = ("search", "compile", "explain", "bench", "tune", "targets", "worker", "report")


def examples(cli, *command: str) -> list[str]:
    """The example commands at the end of a help text: the part of each line before its explanation."""
    code, out, _ = cli(*command, "--help")
    assert code == 0
    lines = [line.strip() for line in re.split(r"\nexamples?:\n", out)[1].splitlines()]
    return [re.split(r"\s{2,}| \| ", line)[0] for line in lines if line.startswith("l0compile ")]


def test_help_lists_every_command(cli) -> None:
    assert all(f"    {name} " in cli("--help")[1] for name in COMMANDS)


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=str)
def test_help_shows_examples_that_are_valid_commands(cli, command: tuple[str, ...]) -> None:
    found = examples(cli, *command)
    assert any(line.startswith(" ".join(("l0compile", *command))) for line in found)
    for line in found:
        assert build_parser().parse_args(shlex.split(line)[1:]).command in COMMANDS


def test_version(cli) -> None:
    assert cli("--version")[:2] == (0, f"l0compile {l0compile.__version__}\n")


@pytest.mark.parametrize(
    "argv", [(), ("nonsense",), ("compile", "m:f"), ("bench",), ("bench", "m:f", "--threads", "0")]
)
def test_wrong_use_is_two(cli, argv: tuple[str, ...]) -> None:
    assert cli(*argv)[0] == 2


def test_an_error_is_one_line_on_standard_error(cli) -> None:
    code, out, err = cli("targets", "show", "x86-64-avx521")
    assert (code, out) == (1, "")
    assert err.startswith("l0compile: error: target: expected one of") and "x86-64-avx512" in err
    assert "Traceback" not in err


def test_an_error_is_json_too_when_json_is_asked_for(cli) -> None:
    code, out, err = cli("targets", "show", "nonsense", "--json")
    assert code == 1 and err
    assert json.loads(out)["error"]["type"] == "TargetError"


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, l0compile.cli as c; c.main(['search', '--help']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)


def test_the_module_form_is_the_same_command() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "l0compile", "targets"], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("native")


def test_interrupt_is_130_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(
        "import time\ndef make():\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    command = [
        sys.executable,
        "-m",
        "l0compile",
        "compile",
        f"{tmp_path}/waits.py:make",
        "--out",
        f"{tmp_path}/out",
    ]
    # A test run that was itself started in the background hands an ignored SIGINT down to its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    assert running.stdout is not None and running.stdout.readline() == "ready\n"
    time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (130, "l0compile: interrupted\n")
    assert not (tmp_path / "out").exists()


def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "l0compile", "targets"]
    ran = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (1, "")
