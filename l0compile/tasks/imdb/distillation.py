"""The distance of a pruned sentiment model from the dense one."""

import torch
from torch import Tensor, nn

from l0compile.tasks.imdb.model import SentimentModel

_HIDDEN = 10.0


def distance(student: SentimentModel, teacher: SentimentModel, inputs: tuple[Tensor, ...]) -> Tensor:
    """Add up the divergence of class probabilities and the squared error of hidden states (TinyBERT, Jiao et al. 2020).

    KL(teacher || student), mean over reviews, plus ``10`` times the mean over layers of the squared error of hidden
    states at real tokens, in units of the teacher's variance in that layer and batch.

    Args:
        student: the model to train, gradient enabled.
        teacher: the dense model; it gets no gradient.
        inputs: (input_ids, attention_mask), int64 [B, S].

    Returns:
        A scalar, float32.
    """
    with torch.no_grad():
        wanted, hidden = teacher.states(*inputs)
    logits, states = student.states(*inputs)
    real = inputs[1].bool()
    errors = [
        (state[real] - target[real]).square().mean() / target[real].var()
        for state, target in zip(states, hidden, strict=True)
    ]
    divergence = nn.functional.kl_div(
        logits.log_softmax(-1), wanted.log_softmax(-1), reduction="batchmean", log_target=True
    )
    return divergence + _HIDDEN * torch.stack(errors).mean()
