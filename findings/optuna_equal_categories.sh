#!/usr/bin/env bash
# optuna 5.0.0: suggest_categorical with choices that Python takes for equal: False and 0, True and 1 and 1.0.
#
# Guess: the choices are told apart, as their places in the list are, or a list with two equal ones is refused; trial.params is
# what the objective was given.
# Seen: the objective gets each of the choices, and everything that is kept names the first equal one: the trial that ran with
# 0 says False, one with 1 says True. Training again from best_params trains another model than the one that won
# ("prune: 0, False or 2 heads", "bits: 1 or True"). Strings for choices keep them apart.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
for choices, kept in (([False, 0, 1, True, "no"], ["'no'", "1", "False"]), (["False", "0", "1"], ["'0'", "'1'", "'False'"])):
    given = []

    def objective(trial):
        given.append(trial.suggest_categorical("way", choices))
        return 0 if given[-1] in (0, "0") and given[-1] is not False else 1

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=40)
    seen = [trial.params["way"] for trial in study.trials]
    other = sum(repr(one) != repr(two) for one, two in zip(given, seen))
    print("choices", choices, "- trials that say another choice than they had:", other, "- the best had",
          repr(given[study.best_trial.number]), "and says", study.best_params)
    assert {repr(each) for each in given} == {repr(each) for each in choices}
    assert sorted({repr(each) for each in seen}) == sorted(kept), seen
    assert (other > 0) == (choices[0] is False)
    assert study.best_params["way"] is (False if choices[0] is False else study.best_params["way"])
PY
