"""The records that come with l0compile, and what they say of whole models."""

from dataclasses import replace

import pytest

from l0compile.hardware.costs import Costs, merged, read_records, shipped_records
from l0compile.hardware.costs.features import Machine
from l0compile.hardware.costs.regions import regions_ms
from l0compile.hardware.costs.text import line
from l0compile.hardware.targets import shipped_folder
from l0compile.ir.records import Region

MACHINE = Machine(2, 64, 16, 1 << 20)


def test_shipped_records_are_in_order_and_each_once() -> None:
    for path in shipped_folder("targets").glob("*.costs.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines()
        records = list(read_records(path))
        assert lines == sorted(lines) == [line(record) for record in records]
        assert len(merged(records)) == len(records) and all(record.ms for record in records)


def layer(shape: tuple[int, int], block: tuple[int, int] | None, density: float) -> Region:
    form = "bsr" if block else "dense"
    return Region("layer", "linear", shape, shape, density, form, block, "")  # type: ignore[arg-type]


def test_the_linear_layers_of_a_model_take_the_sum_of_their_times() -> None:
    costs = Costs(shipped_records(), MACHINE)
    dense, sparse = layer((384, 384), None, 1.0), layer((384, 384), (4, 1), 0.2)
    both = regions_ms([dense, sparse], costs, 128)
    alone = [regions_ms([region], costs, 128) for region in (dense, sparse)]
    assert both == pytest.approx(sum(ms or 0 for ms in alone)) and (alone[1] or 0) < 0.4 * (alone[0] or 0)
    gone, other = replace(dense, format="dropped"), replace(dense, kind="attention")
    assert regions_ms([dense, gone, other], costs, 128) == alone[0]
    assert regions_ms([layer((384, 384), (5, 7), 0.2)], costs, 128) is None


def test_what_is_left_of_a_cut_layer_counts() -> None:
    costs = Costs(shipped_records(), MACHINE)
    cut = replace(layer((768, 768), (4, 1), 0.1), shape_after=(384, 384), density=0.05)
    assert regions_ms([cut], costs, 128) == regions_ms([layer((384, 384), (4, 1), 0.2)], costs, 128)
