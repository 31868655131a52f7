"""Ablation: how much worse a model becomes without one of its modalities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from l0compile.tasks.classification import Part
from l0compile.tasks.multimodal.examples import Examples, ModalityTask


@dataclass(frozen=True)
class Ablation:
    """What a model loses without each modality.

    quality: accuracy with all modalities. without: modality -> accuracy without it. changed: modality -> the share of
    examples whose predicted class is another without it; 0 means that the model ignores it.
    """

    quality: float
    without: Mapping[str, float]
    changed: Mapping[str, float]


def ablate(
    task: ModalityTask, model: Callable[..., Tensor], part: Part = "held_out", *, seed: int = 0
) -> Ablation:
    """Drop one modality at a time: shuffle its inputs between the examples of a part.

    Every example so keeps a real input of the modality, but that of another example (permutation importance, Breiman
    2001). Masks or means would be inputs that training never saw, and a compiled model takes no mask.

    Args:
        task: brings the examples.
        model: takes a tensor per modality; any callable, compiled or not.
        part: whose examples.
        seed: of the shuffle.

    Returns:
        Accuracy in [0, 1] and changed predictions.
    """
    examples = task.parts[part]
    labels = examples.labels
    whole = _classes(task, model, examples)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    without, changed = {}, {}
    for place, name in enumerate(task.modalities):
        inputs = list(examples.inputs)
        inputs[place] = inputs[place][order]
        found = _classes(task, model, Examples(tuple(inputs), labels))
        without[name] = _share(found == labels)
        changed[name] = _share(found != whole)
    return Ablation(_share(whole == labels), without, changed)


def _classes(task: ModalityTask, model: Callable[..., Tensor], examples: Examples) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(*batch.inputs).argmax(1) for batch in examples.batches(256)])


def _share(found: Tensor) -> float:
    return float(found.double().mean())
