"""Classes by a vote of heads."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.attention.heads.last_token import CallArguments, class_means, last_tokens, nearest
from l0compile.attention.heads.select import HeadSelection, outputs_of_heads


class HeadClassifier(nn.Module):
    """Lets each selected head vote for the class whose mean is nearest (SAVs, arXiv:2412.00142).

    Compiled, all that comes after the last selected head is gone: the model's own answer is not computed.

    Args:
        model: The model, in evaluation mode, with or without its other heads closed.
        selection: The heads that vote.
        examples: Arguments of calls.
        labels: [N] int64, the class of each example.
    """

    def __init__(
        self, model: nn.Module, selection: HeadSelection, examples: Iterable[CallArguments], labels: Tensor
    ) -> None:
        super().__init__()
        self.model = model
        used = {place.layer for place in selection.heads}
        self.layers = {name: count for name, count in selection.layers.items() if name in used}
        self.places = [(place.layer, place.head) for place in selection.heads]
        values = self._voters(outputs_of_heads(model, self.layers, examples))
        self.register_buffer("means", class_means(values, labels, int(labels.max()) + 1))

    def forward(self, *args: Any) -> Tensor:
        """Return [B, classes], how many heads vote for each class."""
        means = self.get_buffer("means")
        votes = nearest(self._voters(last_tokens(self.model, self.layers, args)), means)
        return nn.functional.one_hot(votes, means.shape[0]).sum(1)

    def _voters(self, values: dict[str, Tensor]) -> Tensor:
        """[B, voters, D]; heads of different layers may differ in width, and get zeros behind theirs."""
        width = max(t.shape[-1] for t in values.values())
        voters = [values[name][:, head] for name, head in self.places]
        return torch.stack([nn.functional.pad(t, (0, width - t.shape[-1])) for t in voters], 1)
