"""A target survives in a manifest, and code for another machine is refused with the reason."""

import json

import pytest

from l0compile.errors import ArtifactError
from l0compile.hardware.targets import list_targets, load_target, read_host
from l0compile.ir.codec import encode
from l0compile.runtime.artifact import check_host, target_of


@pytest.mark.parametrize("name", list_targets())
def test_every_target_survives_json(name: str) -> None:
    target = load_target(name)
    back = target_of(json.loads(json.dumps({"target": encode(target)})), "model")
    assert back == target
    assert hash(back) == hash(target)


def test_code_for_this_machine_is_accepted() -> None:
    check_host(load_target("native"), "model")


def test_code_for_another_machine_is_refused_with_the_reason() -> None:
    other = load_target("x86-64-avx2" if read_host().arch == "aarch64" else "aarch64-neon")
    with pytest.raises(ArtifactError, match=f"model.*{other.name}.*this machine is {read_host().arch}"):
        check_host(other, "model")


@pytest.mark.parametrize("change", [{"warp": 32}, {"cpu": None}])
def test_a_target_record_of_another_version_is_refused(change: dict[str, object]) -> None:
    record = encode(load_target("native"))
    for key, value in change.items():
        record[key] = value
        if value is None:
            del record[key]
    with pytest.raises(ArtifactError, match=next(iter(change))):
        target_of({"target": record}, "model")
