"""The protocol is a checked value."""

import json
from typing import Any

import pytest

from l0compile.errors import ConfigError
from l0compile.measurement import Protocol


@pytest.mark.parametrize("protocol", [Protocol(), Protocol.quick(threads=2), Protocol(block_s=0.0, seed=5)])
def test_round_trip(protocol: Protocol) -> None:
    assert Protocol.from_dict(json.loads(json.dumps(protocol.to_dict()))) == protocol
    assert hash(protocol) == hash(Protocol.from_dict(protocol.to_dict()))


def test_quick_is_quicker() -> None:
    def seconds(p: Protocol) -> float:
        return p.warmup_s + p.blocks * (p.block_s + p.settle_s)

    assert seconds(Protocol.quick()) < seconds(Protocol()) / 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"blocks": 0},
        {"block_s": -1.0},
        {"warmup_s": float("nan")},
        {"threads": 0},
        {"min_calls": 0},
        {"percentile": 101},
    ],
)
def test_values_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"protocol: {next(iter(wrong))}: expected"):
        Protocol(**wrong)


def test_unknown_key() -> None:
    with pytest.raises(ConfigError, match="repeat: unknown key; expected one of warmup_s, blocks"):
        Protocol.from_dict({"repeat": 3})
