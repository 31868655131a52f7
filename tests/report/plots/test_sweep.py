"""Latencies at several sizes: one row each, engines that failed with their reason, a picture of each type."""

import io

from rich.console import Console

from l0compile.measurement import Measurement, Protocol
from l0compile.report.plots.sweep import PLOTS, SweepPoint, draw_sweep, sweep_plot, sweep_table
from tests.report.drawn import Drawn

PROTOCOL = Protocol.quick()


def measured(ms: float) -> Measurement:
    return Measurement.from_blocks([[ms, 1.01 * ms, 0.99 * ms]] * 8, PROTOCOL)


def points() -> list[SweepPoint]:
    found = []
    for batch in (1, 8):
        for tokens in (128, 512):
            time = batch * tokens / 100
            results = {
                "pytorch": measured(time),
                "openvino": measured(time / 2),
                "l0compile": measured(time / 8),
            }
            if batch == 8:
                results["openvino"] = Measurement.failed("no such [engine]", PROTOCOL)
            found.append(SweepPoint({"batch": batch, "tokens": tokens}, results))
    return found


def text(table: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_table_compares_with_the_best_other_engine_of_each_size() -> None:
    shown = text(sweep_table("my [model]", points(), 50))
    rows = [line.split() for line in shown.splitlines() if line.strip().startswith(("1 ", "8 "))]
    assert [row[:2] for row in rows] == [["1", "128"], ["1", "512"], ["8", "128"], ["8", "512"]]
    assert "my [model]: latency, ms" in shown and "openvino: no such [engine]" in shown
    assert [row[-1] for row in rows] == ["(openvino)", "(openvino)", "(pytorch)", "(pytorch)"]
    assert "4.00× [4.00, 4.00]" in " ".join(rows[0]) and "8.00× [8.00, 8.00]" in " ".join(rows[2])
    assert "percentile 95, ms" in text(sweep_table("m", points(), 95))


def test_without_our_engine_there_is_no_speed_up() -> None:
    only = [SweepPoint(point.sizes, {"pytorch": point.results["pytorch"]}) for point in points()]
    assert "speed-up" not in text(sweep_table("m", only, 50))


def test_there_is_a_line_for_each_engine_and_other_size() -> None:
    drawn = Drawn.of(draw_sweep("my $model_", points()))
    # Of sizes that vary as often the last is the axis.
    assert drawn.titles() == ("tokens", "my $model_: latency in ms, with 95 % intervals")
    found = {str(item.get_label()): item.lines[0].get_xydata().tolist() for item in drawn.axes.containers}  # type: ignore[attr-defined]
    # Of OpenVINO at batch 8 nothing was measured.
    assert set(found) == {
        "pytorch batch 1", "pytorch batch 8", "openvino batch 1", "l0compile batch 1", "l0compile batch 8",
    }  # fmt: skip
    assert found["l0compile batch 8"] == [[128, 1.28], [512, 5.12]]
    assert [label.get_text() for label in drawn.axes.get_xticklabels()] == ["128", "512"]
    assert drawn.axes.get_yscale() == "log"
    assert [label.get_text() for label in drawn.axes.get_yticklabels()] == [
        "0.2",
        "0.5",
        "1",
        "2",
        "5",
        "10",
        "20",
        "50",
    ]


def test_a_plot_is_a_file_of_the_type_asked_for() -> None:
    begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    assert set(begins) == set(PLOTS)
    for suffix, begin in begins.items():
        assert sweep_plot("my $model_", points(), suffix).startswith(begin)
    assert sweep_plot("one", points()[:1], ".png") and sweep_plot("none", [SweepPoint({}, {})], ".png")
