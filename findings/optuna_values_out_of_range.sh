#!/usr/bin/env bash
# optuna 5.0.0: values from enqueue_trial and from GridSampler that lie outside the range that the objective asks for.
#
# Guess: suggest_float("x", 0, 1) returns a float from 0 to 1, on the grid if it has a step; another value given beforehand is an
# error, or is replaced by a sampled one.
# Seen: it returns what was given: 5.0; the string "0.5", as a string (while trial.params says 0.5); 0.33 with a step of 0.25; 4
# where only multiples of 3 were asked for. A warning is all that tells of it, of the string nothing does, and a point of a
# GridSampler outside the range is used the same way. Categories alone are checked.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import warnings

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)


def run(given, suggest, sampler=None):
    """Return what the objective gets, and what warnings say."""
    study = optuna.create_study(sampler=sampler or optuna.samplers.RandomSampler(seed=0))
    if given is not None:
        study.enqueue_trial({"x": given})
    got = []
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        study.optimize(lambda trial: got.append(suggest(trial)) or 0.0, n_trials=1)
    assert study.trials[0].state.name == "COMPLETE" and study.best_params["x"] == (float(got[0]) if given == "0.5" else got[0])
    return got[0], [str(warning.message) for warning in heard]


cases = {
    "5.0 for 0..1": (5.0, lambda trial: trial.suggest_float("x", 0, 1)),
    "'0.5' for 0..1": ("0.5", lambda trial: trial.suggest_float("x", 0, 1)),
    "0.33 for 0..1, step 0.25": (0.33, lambda trial: trial.suggest_float("x", 0, 1, step=0.25)),
    "4 for 0..9, step 3": (4, lambda trial: trial.suggest_int("x", 0, 9, step=3)),
}
for name, (given, suggest) in cases.items():
    got, heard = run(given, suggest)
    print(name, "->", repr(got), "-", [warning[:70] for warning in heard])
    assert got == given and type(got) is type(given)
grid = optuna.samplers.GridSampler({"x": [50]}, seed=0)
got, heard = run(None, lambda trial: trial.suggest_float("x", 0, 10), grid)
print("a grid of 50 for 0..10 ->", got, "-", [warning[:70] for warning in heard])
assert got == 50
try:
    run("c", lambda trial: trial.suggest_categorical("x", ["a", "b"]))
    raise SystemExit("categories are not checked either")
except ValueError as error:
    print("'c' for a or b ->", error)
PY
