"""Dense models that were trained once, kept on disk."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from l0compile.hardware.cache_folder import folder_for_this_process
from l0compile.tasks.checkpoint import Checkpoint
from l0compile.tasks.task import Task
from l0compile.tasks.training import Schedule, train


def trained(
    task: Task,
    model: nn.Module,
    schedule: Schedule,
    facts: Mapping[str, Any],
    told: Callable[[str], None] | None = None,
) -> nn.Module:
    """Train a model, or read it from the cache; an interrupted training goes on where it was.

    Args:
        task: brings data and loss.
        model: to train, in place.
        schedule: of the training.
        facts: whatever else decides the result, as JSON values.
        told: hears every ten seconds of loss and time left.

    Returns:
        ``model``, in evaluation mode.
    """
    key = json.dumps({"facts": facts, "schedule": vars(schedule), "torch": torch.__version__}, sort_keys=True)
    name = f"{facts.get('task', 'model')}-{schedule.seed}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    checkpoint = Checkpoint(folder_for_this_process() / f"{name}.safetensors", key)
    train(task, model, schedule, checkpoint=checkpoint, told=told)
    return model
