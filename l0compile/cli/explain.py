"""``l0compile explain``: say what became of each region, what it costs, and why the model is not faster."""

import argparse
from pathlib import Path
from typing import Any

from torch import nn

import l0compile as l0
from l0compile.cli.models.example import Example, compiled, load_example
from l0compile.cli.models.kinds import SAVED, kind_of
from l0compile.cli.options import dynamic_shapes, sizes
from l0compile.cli.output import print_json, print_lines
from l0compile.compiler.advice.text import advice_lines
from l0compile.errors import ArtifactError, ConfigError
from l0compile.hardware.targets import host_supports
from l0compile.report.pages.explanation_page import render_explanation
from l0compile.report.write import write_page
from l0compile.runtime import CompiledModel
from l0compile.runtime.account import Explanation
from l0compile.runtime.artifact import read_manifest


def run(args: argparse.Namespace) -> int:
    """Explain a saved model, or compile one and explain it; measure it where it can run."""
    if args.gates:
        return _gates(args)
    target, explanation, unmeasured = _saved(args) if kind_of(args.model) == SAVED else _made(args)
    if args.html:
        title = f"{Path(args.model).name}, for target {target['name']}"
        write_page(args.html, render_explanation(explanation, title))
    if args.json:
        found = explanation.account
        print_json({
            "model": args.model,
            "target": target,
            **explanation.to_json(),
            "time": None if found is None else found.to_json(),
            "not_measured": unmeasured,
        })  # fmt: skip
        return 0
    print_lines(f"{args.model}, for target {target['name']}", explanation.lines)
    if unmeasured:
        print_lines(f"not measured: {unmeasured}")
    return 0


def _gates(args: argparse.Namespace) -> int:
    """Say what could be gated before training."""
    if kind_of(args.model) == SAVED:
        raise ConfigError("--gates: expected a model before training, got a saved one; give MODULE:FUNCTION")
    for name in ("html", "measure_dense", "no_measure"):
        if getattr(args, name):
            raise ConfigError(f"--gates: does not go with --{name.replace('_', '-')}; leave one of them out")
    example, shapes = load_example(args.model, sizes(args.size), args.dynamic), dynamic_shapes(args.dynamic)
    if not isinstance(example.model, nn.Module):
        raise ConfigError(
            "--gates: an exported program cannot get gates; give the module that it was exported from"
        )
    advice = l0.advise(example.model, example.args, example.kwargs, target=args.target, dynamic_shapes=shapes)
    if args.json:
        print_json({"model": args.model, **advice.to_json()})
    else:
        print_lines(args.model, lambda width: advice_lines(advice, width))
    return 0


def _saved(args: argparse.Namespace) -> tuple[dict[str, Any], Explanation, str | None]:
    if args.measure_dense:
        raise ConfigError(
            "--measure-dense: a saved model has no dense weights; give MODULE:FUNCTION, which compiles both"
        )
    manifest = read_manifest(args.model)
    explanation = Explanation.from_json(manifest["explanation"])
    if args.no_measure:
        return manifest["target"], explanation, "as asked"
    try:
        loaded = l0.load(args.model)
    except ArtifactError as error:
        # A model can be explained on a machine that cannot run it.
        return manifest["target"], explanation, str(error)
    if reason := host_supports(loaded.target):
        return manifest["target"], explanation, reason
    return manifest["target"], loaded.explain(measure=True, sizes=sizes(args.size)), None


def _made(args: argparse.Namespace) -> tuple[dict[str, Any], Explanation, str | None]:
    example = load_example(args.model, sizes(args.size), args.dynamic)
    model = compiled(args, example)
    if args.no_measure:
        return model.manifest["target"], model.explain(), "as asked"
    if reason := host_supports(model.target):
        return model.manifest["target"], model.explain(), reason
    explanation = model.explain(
        measure=True, dense=_dense(args, example, model) if args.measure_dense else None
    )
    return model.manifest["target"], explanation, None


def _dense(args: argparse.Namespace, example: Example, model: CompiledModel) -> CompiledModel:
    """Compile the same model with its zeros ignored, for the engine that ``model`` runs on."""
    choice = model.explain().choice
    given = argparse.Namespace(**{**vars(args), "engine": choice.engine if choice else args.engine})
    return compiled(given, example, ignore_zeros=True)
