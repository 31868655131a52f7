"""Target files: every shipped one loads, and every way to get one wrong is named."""

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from l0compile.errors import ConfigError, TargetError
from l0compile.hardware.targets import Core, list_targets, load_target, parse_target, shipped_folder

EXPECTED = {"native", "x86-64-avx2", "x86-64-avx512", "aarch64-neon", "cuda-sm80", "cuda-sm90"}


@pytest.fixture
def table() -> dict[str, Any]:
    return tomllib.loads((shipped_folder("targets") / "x86-64-avx512.toml").read_text())


def test_the_promised_targets_are_listed_and_load() -> None:
    assert set(list_targets()) >= EXPECTED
    assert list_targets()[0] == "native"
    for name in list_targets():
        target = load_target(name)
        assert target.name == name
        assert target.kind == ("cuda" if name.startswith("cuda") else "llvm")


def test_isa_facts() -> None:
    assert (load_target("x86-64-avx2").vector_bits, load_target("x86-64-avx2").registers) == (256, 16)
    assert (load_target("x86-64-avx512").vector_bits, load_target("x86-64-avx512").registers) == (512, 32)
    assert (load_target("aarch64-neon").vector_bits, load_target("aarch64-neon").arch) == (128, "aarch64")
    assert [load_target(f"cuda-sm{n}").cpu for n in (80, 90)] == ["sm_80", "sm_90a"]


def test_a_path_is_loaded_and_named_after_the_file(tmp_path: Path) -> None:
    file = tmp_path / "my-board.toml"
    file.write_bytes((shipped_folder("targets") / "aarch64-neon.toml").read_bytes())
    assert load_target(file) == load_target(str(file))
    assert load_target(file).name == "my-board"


def test_unknown_name_gets_near_matches_and_the_list() -> None:
    with pytest.raises(TargetError) as caught:
        load_target("x86-64-avx511")
    text = str(caught.value)
    assert "'x86-64-avx511'" in text and "did you mean 'x86-64-avx512'" in text
    assert all(name in text for name in EXPECTED)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"no file .*gone\.toml"):
        load_target(tmp_path / "gone.toml")


@pytest.mark.parametrize("content", [b"kind = ", b"\xff\xfe"])
def test_broken_files_name_the_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        load_target(file)


BAD = [
    (("kind",), "opencl", r"kind: expected one of 'llvm', 'cuda', got 'opencl'"),
    (("kind",), "cuda", r"cpu: expected an architecture such as 'sm_80'"),
    (("cpu",), 5, r"cpu: expected text that is not empty, got 5"),
    (("triple",), "", r"triple: expected text that is not empty, got ''"),
    (("cores",), 0, r"cores: expected a whole number of at least 1, got 0"),
    (("cores",), True, r"cores: .* got True"),
    (("cores",), 2.0, r"cores: .* got 2\.0"),
    (("dtypes",), ["float33"], r"dtypes\[0\]: expected one of 'float32', .* got 'float33'"),
    (("dtypes",), "float32", r"dtypes: expected a list, got 'float32'"),
    (("attrs",), ["avx2"], r"attrs\[0\]: expected features such as '\+fma'.* got 'avx2'"),
    (("vector",), 512, r"vector: expected a table with bits, registers, got 512"),
    (("vector", "bits"), 96, r"vector\.bits: expected a power of two from 64, got 96"),
    (
        ("vector", "bit"),
        96,
        r"vector\.bit: unknown key; expected one of bits, registers; did you mean bits",
    ),
    (("cache", "l1_bytes"), "32K", r"cache\.l1_bytes: expected a whole number"),
    (("blocks",), {}, r"blocks: expected a table such as"),
    (("blocks", "4by1"), 1.0, r"blocks\.4by1: expected ROWSxCOLS"),
    (("blocks", "0x1"), 1.0, r"blocks\.0x1: expected ROWSxCOLS"),
    (("blocks", "4x1"), -1, r"blocks\.4x1: expected a relative speed in \(0, 2\], got -1"),
    (("block",), {}, r"block: unknown key; .* did you mean blocks"),
]


@pytest.mark.parametrize(("keys", "value", "message"), BAD)
def test_wrong_values_name_file_key_and_allowed(
    table: dict[str, Any], keys: tuple[str, ...], value: Any, message: str
) -> None:
    at = table
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value
    with pytest.raises(ConfigError, match="^board.toml: .*" + message):
        parse_target(table, "board.toml", "board")


def test_every_key_is_required(table: dict[str, Any]) -> None:
    paths = [(key,) for key in table] + [(s, key) for s in ("vector", "cache") for key in table[s]]
    assert len(paths) == 14
    for path in paths:
        broken = copy.deepcopy(table)
        at = broken if len(path) == 1 else broken[path[0]]
        del at[path[-1]]
        with pytest.raises(ConfigError, match=f"{'.'.join(path)}: is missing; expected "):
            parse_target(broken, "board.toml", "board")


def test_the_table_of_the_core_is_optional_and_checked(table: dict[str, Any]) -> None:
    assert parse_target(table, "board.toml", "board").core == Core()
    assert parse_target({**table, "core": {"latency": 5}}, "board.toml", "board").core == Core(latency=5)
    for core, message in (({"latency": 0}, r"core\.latency: expected"), ({"lag": 5}, r"core\.lag: unknown")):
        with pytest.raises(ConfigError, match=f"^board.toml: .*{message}"):
            parse_target({**table, "core": core}, "board.toml", "board")
