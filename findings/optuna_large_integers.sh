#!/usr/bin/env bash
# optuna 5.0.0: suggest_int for a seed from 0 to 2^63 - 1, sampled, and given beforehand by enqueue_trial.
#
# Guess: integers are integers: any of them may be drawn, and trial.params says which one the objective was given.
# Seen: they are floats inside. Above 2^53 all that is drawn are multiples of 1,024 or so, so "seed % folds" or "seed & 1" is always
# 0; and an enqueued 2^53 + 1 is given to the objective as it is and kept as 2^53, in memory and in SQLite: whoever runs the
# best trial again runs another seed. No warning. Seeds below 2^53, or strings, are kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0 numpy==2.4.6
"$folder/venv/bin/python" -W error::UserWarning - "$folder/study.db" <<'PY'
import sys

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
for storage in (None, "sqlite:///" + sys.argv[1]):
    given = []

    def objective(trial):
        given.append(trial.suggest_int("seed", 0, 2**63 - 1))
        return 0.0

    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial({"seed": 2**53 + 1})
    study.optimize(objective, n_trials=30)
    kept = [trial.params["seed"] for trial in study.trials]
    print(storage, "given", given[:4], "kept", kept[:4])
    assert given[0] == 2**53 + 1 and kept[0] == 2**53 and given[1:] == kept[1:]
    assert all(seed % 256 == 0 for seed in given[1:]) and any(seed % 4096 for seed in given[1:])
PY
