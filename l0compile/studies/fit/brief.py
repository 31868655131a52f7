"""Brief trainings of finalists, by which they are compared: each goes on from where the one before ended."""

import copy
import logging
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import Fitted

_log = logging.getLogger("l0compile")
# Between the seeds of rounds, so that each sees other batches.
_APART = 1009


@dataclass(frozen=True)
class BriefTraining:
    """folder: where the models are kept, weights alone."""

    evaluator: Evaluator
    folder: Path

    def model(self, fitted: Fitted) -> nn.Module:
        """The model of a plan as its last round left it; with weights by least squares, where there was none."""
        model, file = self.evaluator.realised(fitted.plan), self._file(fitted)
        if file.exists():
            try:
                load_model(model, file)
                return model
            except (SafetensorError, OSError, RuntimeError) as error:
                _log.warning("%s can't be read (%s): weights by least squares instead", file, error)
                model = self.evaluator.realised(fitted.plan)
        self.evaluator.solve(model)
        return model

    def train(self, fitted: Fitted, rounds: int) -> float:
        """Validation quality after one round more than ``rounds``: each has twice the steps of the one before. A round
        that makes the model worse is undone."""
        space, task = self.evaluator.space, self.evaluator.task
        model = self.model(fitted)
        trained = copy.deepcopy(model)
        steps = space.training.candidate_steps * 2**rounds
        self.evaluator.train(trained, space.training.schedule(steps, space.effort.seed + _APART * rounds))
        before, after = task.quality(model, "validation"), task.quality(trained, "validation")
        file = self._file(fitted)
        draft = file.with_suffix(".draft")
        draft.parent.mkdir(parents=True, exist_ok=True)
        save_model(trained if after >= before else model, str(draft))
        draft.replace(file)
        return max(before, after)

    def forget(self, fitted: Fitted) -> None:
        """Of a finalist that is out: its file goes."""
        self._file(fitted).unlink(missing_ok=True)

    def _file(self, fitted: Fitted) -> Path:
        return self.folder / f"{fitted.structure}-brief.safetensors"
