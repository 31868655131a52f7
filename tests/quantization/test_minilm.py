"""The quality of a real model."""

from typing import Any

import pytest

import l0compile as l0
from l0compile.quantization import QuantizedLinear
from l0compile.tasks import SentenceOptions, make_task


@pytest.mark.slow
@pytest.mark.parametrize("way", [{}, {"rounding": "compensated"}, {"precision": "bfloat16"}], ids=str)
def test_minilm_keeps_the_order_of_similarities(way: dict[str, Any]) -> None:
    task = make_task("sentence-embedding", SentenceOptions(calibration_sentences=128))
    narrow = l0.quantize(task.dense(), [batch.inputs for batch in task.calibration()], **way)
    assert all(record.precision != "float32" and record.error < 0.002 for record in narrow.quantization)
    assert task.quality(narrow, "validation") > 0.997
    scales = {id(layer.inverse) for layer in narrow.modules() if isinstance(layer, QuantizedLinear)}
    assert len(scales) == (0 if way.get("precision") else 4 * 6)
