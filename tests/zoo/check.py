"""``python -m tests.zoo.check bert``: compile one model of the zoo at every setting, one line of JSON each.

A process of its own, so that a crash or an endless loop in one model is a line in a table and not the end of it.
"""

import argparse
import json
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

import l0compile as l0
from tests.zoo import MODELS, compare, prune
from tests.zoo.model import ZooModel
from tests.zoo.prune import Style


@dataclass(frozen=True)
class Setting:
    """How much of a model is zero, and how the zeros lie."""

    fraction: float
    style: Style

    def __str__(self) -> str:
        return f"{self.fraction:.0%} {self.style}" if self.fraction else "dense"


SETTINGS = (
    Setting(0.0, "structured"),
    Setting(0.5, "structured"),
    Setting(0.9, "structured"),
    Setting(0.9, "block"),
)


def pruned(zoo: ZooModel, setting: Setting, scale: int = 1) -> torch.nn.Module:
    """The model with the zeros of ``setting``."""
    return prune(zoo.build(scale), setting.fraction, setting.style, zoo.groups)


def compiled_difference(zoo: ZooModel, setting: Setting) -> tuple[float, l0.CompiledModel]:
    """The worst relative difference between compiled and pruned model over both sizes, and the compiled model."""
    model = pruned(zoo, setting)
    args, kwargs = zoo.inputs()
    # Compared here, so that a wrong answer shows how wrong it is; compiled code even where PyTorch would be quicker.
    compiled = l0.compile(model, args, kwargs, dynamic_shapes=zoo.dynamic_shapes, verify=False, engine="tvm")
    worst = 0.0
    for sizes in filter(None, (zoo.sizes, zoo.other)):
        args, kwargs = zoo.inputs(sizes)
        with torch.no_grad():
            worst = max(worst, compare(compiled(*args, **kwargs), model(*args, **kwargs)))
    return worst, compiled


def record(zoo: ZooModel, setting: Setting) -> dict[str, Any]:
    """What came of compiling: the difference, the regions by format, or the error and where it was raised."""
    start = time.perf_counter()
    facts: dict[str, Any] = {"name": zoo.name, "setting": str(setting)}
    try:
        worst, compiled = compiled_difference(zoo, setting)
    except Exception as error:  # any failure is a result here: it is what the table is for
        frames = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
        where = [frame for frame in frames if "/l0compile/" in frame][-3:]
        facts["error"] = {"type": type(error).__name__, "message": str(error), "where": where}
    else:
        explanation = compiled.explain()
        facts["difference"] = worst
        facts["formats"] = dict(Counter(region.format for region in explanation.regions))
        facts["blocked"] = sum("dead but stay" in region.reason for region in explanation.regions)
        facts["islands"] = [
            [op.target for op in island.operators if op.reason] for island in explanation.islands
        ]
    return {**facts, "seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Check the model named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=[*MODELS])
    parser.add_argument("--settings", nargs="*", default=[str(s) for s in SETTINGS], metavar="SETTING")
    options = parser.parse_args()
    for setting in SETTINGS:
        if str(setting) in options.settings:
            print(json.dumps(record(MODELS[options.model], setting)), flush=True)


if __name__ == "__main__":
    main()
