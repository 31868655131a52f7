"""Brief trainings, by which finalists are compared; each continues the one before."""

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
# Distance between the seeds of rounds, so that each sees other batches.
_APART = 1009


@dataclass(frozen=True)
class BriefTraining:
    """Trains finalists round by round. folder: keeps the weights after each round."""

    evaluator: Evaluator
    folder: Path

    def model(self, fitted: Fitted) -> nn.Module:
        """Return the model as its last round left it; with weights by least squares if there was none."""
        model, file = self.evaluator.realised(fitted.allocation), self._file(fitted)
        if file.exists():
            try:
                load_model(model, file)
                return model
            except (SafetensorError, OSError, RuntimeError) as error:
                _log.warning("%s can't be read (%s): using weights by least squares", file, error)
                model = self.evaluator.realised(fitted.allocation)
        self.evaluator.solve(model)
        return model

    def train(self, fitted: Fitted, rounds: int) -> float:
        """Train for one round and return the quality on validation data.

        A round that makes the model worse is undone.

        Args:
            fitted: the candidate to train.
            rounds: how many rounds it has had; each has twice the steps of the one before.
        """
        space, task = self.evaluator.space, self.evaluator.task
        model = self.model(fitted)
        trained = copy.deepcopy(model)
        steps = space.training.candidate_steps * 2**rounds
        self.evaluator.train(trained, space.training.schedule(steps, space.effort.seed + _APART * rounds))
        before, after = task.quality(model, "validation"), task.quality(trained, "validation")
        file = self._file(fitted)
        draft = file.with_suffix(".draft")
        draft.parent.mkdir(parents=True, exist_ok=True)
        better = trained if after >= before else model
        save_model(better, str(draft))
        draft.replace(file)
        return self.evaluator.quality(better, fitted.allocation) if space.narrow else max(before, after)

    def forget(self, fitted: Fitted) -> None:
        """Delete the file of a finalist that is out."""
        self._file(fitted).unlink(missing_ok=True)

    def _file(self, fitted: Fitted) -> Path:
        return self.folder / f"{fitted.structure}-brief.safetensors"
