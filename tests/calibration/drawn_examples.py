"""Logits and labels for tests: drawn by hypothesis, with ties and extremes, or from a model that is too sure."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from l0compile.calibration.predictions import Predictions

Examples = tuple[Tensor, Tensor]


@st.composite
def examples(draw: st.DrawFn, least: int = 1, most: int = 40) -> Examples:
    """Float32 logits [N, classes], small whole numbers (many ties) or anything up to ±10,000, and labels."""
    count, classes = draw(st.integers(least, most)), draw(st.integers(2, 5))
    whole = st.integers(-3, 3).map(float)
    number = draw(st.sampled_from([whole, st.floats(-1e4, 1e4, width=32), whole.map(lambda x: x * 3333.0)]))
    logits = draw(st.lists(number, min_size=count * classes, max_size=count * classes))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count))
    return torch.tensor(logits).reshape(count, classes), torch.tensor(labels)


def too_sure(count: int, classes: int, seed: int = 0, factor: float = 2.0) -> Examples:
    """Logits that are ``factor`` times those that the labels were drawn from."""
    generator = torch.Generator().manual_seed(seed)
    honest = 2.0 * torch.randn(count, classes, generator=generator)
    labels = torch.multinomial(torch.softmax(honest, 1), 1, generator=generator)[:, 0]
    return factor * honest, labels


def with_confidence(probabilities: list[float], correct: list[bool]) -> Predictions:
    """Predictions of class 1 of two with these probabilities of at least 0.5, right or wrong."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    logits = torch.stack((torch.log1p(-p), torch.log(p)), 1).clamp_min(-1e4)
    return Predictions.of(logits, torch.tensor(correct).long())
