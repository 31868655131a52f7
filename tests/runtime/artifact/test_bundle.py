"""A bundle comes back as it was written, or it does not come back at all."""

import dataclasses
import json
import os
import resource
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import ArtifactError
from l0compile.hardware.targets import load_target
from l0compile.ir.codec import encode
from l0compile.runtime.artifact import (
    check_destination,
    load_spec,
    read_bundle,
    read_manifest,
    write_bundle,
)

HERE = encode(load_target("native"))
MANIFEST = {
    "target": HERE,
    "inputs": [],
    "outputs": [],
    "in_spec": "",
    "out_spec": "",
    "regions": [{"name": "fc1"}],
}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    file = tmp_path / "built.so"
    file.write_bytes(os.urandom(5000))
    return file


def saved(tmp_path: Path, library: Path, constants: dict[str, torch.Tensor] | None = None) -> Path:
    path = tmp_path / "model"
    write_bundle(path, MANIFEST, {"w": torch.arange(600.0)} if constants is None else constants, library)
    return path


dtypes = st.sampled_from(
    [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.bool]
)
shapes = st.lists(st.integers(0, 5), max_size=4)


@given(st.dictionaries(st.text("abc.", min_size=1), st.tuples(dtypes, shapes, st.booleans()), max_size=5))
def test_constants_survive(tmp_path_factory: pytest.TempPathFactory, wanted) -> None:
    tmp = tmp_path_factory.mktemp("bundle")
    (tmp / "lib").write_bytes(b"code")
    constants = {}
    for name, (dtype, shape, transpose) in wanted.items():
        tensor = (torch.randn(shape) * 3).to(dtype)
        constants[name] = tensor.t() if transpose and tensor.dim() == 2 else tensor
    write_bundle(tmp / "m", MANIFEST, constants, tmp / "lib")
    back = read_bundle(tmp / "m").constants
    assert back.keys() == constants.keys()
    for name, tensor in constants.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


def test_manifest_and_library_survive(tmp_path: Path, library: Path) -> None:
    bundle = read_bundle(saved(tmp_path, library))
    assert bundle.libraries[0].read_bytes() == library.read_bytes()
    assert {key: bundle.manifest[key] for key in MANIFEST} == json.loads(json.dumps(MANIFEST))
    assert bundle.manifest["versions"]["torch"].startswith("2.")
    assert read_manifest(tmp_path / "model")["regions"] == MANIFEST["regions"]


def test_keys_and_tuples_that_json_rewrites_do_not_break_the_seal(tmp_path: Path, library: Path) -> None:
    write_bundle(tmp_path / "m", {**MANIFEST, "extra": {9: (1, 2.5), 10: None}}, {}, library)
    assert read_bundle(tmp_path / "m").manifest["extra"] == {"9": [1, 2.5], "10": None}


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path, library: Path) -> None:
    table = torch.randn(1000, 64)
    path = saved(tmp_path, library, {"in": table, "out": table, "head": table[:10], "back": table.t()})
    back = read_bundle(path).constants
    assert back["in"].data_ptr() == back["out"].data_ptr()
    assert torch.equal(back["head"], table[:10]) and torch.equal(back["back"], table.t())
    assert (path / "weights.safetensors").stat().st_size < 2.1 * table.nbytes


def test_files_get_the_permissions_of_any_other_file(tmp_path: Path, library: Path) -> None:
    modes = {stat.S_IMODE(file.stat().st_mode) for file in saved(tmp_path, library).iterdir()}
    assert modes == {stat.S_IMODE(library.stat().st_mode)}


@pytest.mark.parametrize("name", ["weights.safetensors", "lib.so", "manifest.json"])
def test_every_flipped_byte_is_noticed(tmp_path: Path, library: Path, name: str) -> None:
    file = saved(tmp_path, library) / name
    intact = file.read_bytes()
    for place in range(0, len(intact), max(1, len(intact) // 40)):
        # Bit 0: in JSON text it changes a digit or letter into another, the damage that still parses.
        file.write_bytes(intact[:place] + bytes([intact[place] ^ 1]) + intact[place + 1 :])
        with pytest.raises(ArtifactError, match=name):
            read_bundle(tmp_path / "model")
    file.write_bytes(intact)
    read_bundle(tmp_path / "model")


@pytest.mark.parametrize("name", ["weights.safetensors", "lib.so", "manifest.json"])
@pytest.mark.parametrize("damage", ["remove", "truncate"])
def test_missing_and_short_files_are_named(tmp_path: Path, library: Path, name: str, damage: str) -> None:
    file = saved(tmp_path, library) / name
    if damage == "remove":
        file.unlink()
    else:
        os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(ArtifactError, match=name):
        read_bundle(tmp_path / "model")


@pytest.mark.parametrize("text", ["[]", "{}", "not json", '{"format": 99, "versions": {"l0compile": "9.9"}}'])
def test_foreign_manifests_are_refused(tmp_path: Path, library: Path, text: str) -> None:
    (saved(tmp_path, library) / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match="99.*9.9" if "99" in text else "manifest"):
        read_bundle(tmp_path / "model")


def test_what_is_not_an_artifact_is_named_as_such(tmp_path: Path, library: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path, library):
        with pytest.raises(ArtifactError, match=r"found no manifest\.json"):
            read_bundle(path)


def test_saving_replaces_an_artifact_and_nothing_else(tmp_path: Path, library: Path) -> None:
    path = saved(tmp_path, library)
    write_bundle(path, MANIFEST, {"w": torch.ones(2)}, library)
    assert torch.equal(read_bundle(path).constants["w"], torch.ones(2))
    assert sorted(os.listdir(tmp_path)) == ["built.so", "model"]

    check_destination(path)
    work = tmp_path / "work"
    work.mkdir()
    write_bundle(work, MANIFEST, {}, library)  # an empty folder is as good as none
    for taken, reason in ((tmp_path, "other files"), (library, "is a file")):
        before = sorted(os.listdir(tmp_path))
        with pytest.raises(ArtifactError, match=reason):
            check_destination(taken)
        with pytest.raises(ArtifactError, match=reason):
            write_bundle(taken, MANIFEST, {}, library)
        assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ({"target": HERE}, "lacks inputs"),
        ({**MANIFEST, "x": float("nan")}, "JSON"),
        ({**MANIFEST, "x": object()}, "JSON"),
    ],
)
def test_a_bad_manifest_leaves_the_old_artifact(tmp_path: Path, library: Path, manifest, reason: str) -> None:
    path = saved(tmp_path, library)
    with pytest.raises(ArtifactError, match=reason):
        write_bundle(path, manifest, {}, library)
    assert torch.equal(read_bundle(path).constants["w"], torch.arange(600.0))
    assert sorted(os.listdir(tmp_path)) == ["built.so", "model"]


def test_a_missing_library_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        write_bundle(tmp_path / "m", MANIFEST, {}, tmp_path / "absent.so")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("limit", [1_000, 30_000])
def test_a_file_system_that_refuses_leaves_nothing(tmp_path: Path, library: Path, limit: int) -> None:
    # A limit on file size gives the same failed write as a full disk, for the library at 1 kB and the weights at 30 kB.
    code = f"""
        import resource, torch
        from l0compile.runtime.artifact import write_bundle
        from l0compile.errors import ArtifactError
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            write_bundle({str(tmp_path / "m")!r}, {MANIFEST!r}, {{"w": torch.ones(10_000)}}, {str(library)!r})
        except ArtifactError as error:
            print(error)
    """
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert "nothing was left behind" in ran.stdout
    assert os.listdir(tmp_path) == ["built.so"]


def test_an_artifact_for_another_machine_is_refused_before_its_files_are_read(
    tmp_path: Path, library: Path
) -> None:
    path = tmp_path / "m"
    write_bundle(path, {**MANIFEST, "target": {**HERE, "triple": "riscv64-linux-gnu"}}, {}, library)
    (path / "lib.so").unlink()
    with pytest.raises(ArtifactError, match="riscv64"):
        read_bundle(path)
    assert json.loads((path / "manifest.json").read_text())["target"]["triple"].startswith("riscv64")


def test_bundle_is_a_value(tmp_path: Path, library: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        read_bundle(saved(tmp_path, library)).libraries = (library,)  # type: ignore[misc]


@pytest.mark.parametrize("depth", [300, 900, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deeply_nested_json_is_an_artifact_error(
    tmp_path: Path, library: Path, depth: int, opening: str
) -> None:
    closing = "]" if opening == "[" else "}"
    text = opening * depth + "1" + closing * depth
    (saved(tmp_path, library) / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match="nested deeper than 200 levels"):
        read_bundle(tmp_path / "model")
    for spec in (text, '{"kind":"tuple","keys":null,"children":[' * depth + "null" + "]}" * depth):
        with pytest.raises(ArtifactError, match="nested deeper than 200 levels"):
            load_spec(spec)


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, library: Path) -> None:
    nested: list[object] = []
    for _ in range(300):
        nested = [nested]
    with pytest.raises(ArtifactError, match="nested deeper"):
        write_bundle(tmp_path / "m", {**MANIFEST, "x": nested}, {}, library)
