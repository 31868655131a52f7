"""MiniLM with a head that tells the sentiment of a text."""

import torch
from torch import Tensor, nn

from l0compile.tasks.embedding import load_encoder, mean_over_tokens

WIDTH, CLASSES = 384, 2


class SentimentHead(nn.Module):
    """A layer norm and a linear layer: float32 [B, 384] -> logits [B, 2].

    ``representation`` is the layer norm. It has a weight for each feature, so that gates on its output cost nothing
    once they are hardened.
    """

    def __init__(self) -> None:
        super().__init__()
        self.representation = nn.LayerNorm(WIDTH)
        self.classifier = nn.Linear(WIDTH, CLASSES)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return logits, float32 [B, 2], for pooled vectors, float32 [B, 384]."""
        logits: Tensor = self.classifier(self.representation(pooled))
        return logits


class SentimentModel(nn.Module):
    """MiniLM, the mean over real tokens, and a head: (input_ids, attention_mask) int64 [B, S] -> logits [B, 2]."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert
        self.head = SentimentHead()

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the mean of the last hidden states over real tokens, float32 [B, 384]."""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return mean_over_tokens(hidden, attention_mask)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits, float32 [B, 2]; padded positions (attention_mask 0) have no influence."""
        logits: Tensor = self.head(self.pooled(input_ids, attention_mask))
        return logits

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the logits, and the hidden states, float32 [B, S, 384], after each encoder layer."""
        found = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
        ).hidden_states
        return self.head(mean_over_tokens(found[-1], attention_mask)), tuple(found[1:])


def build_model(seed: int) -> SentimentModel:
    """Return the pretrained encoder with a new head, in evaluation mode; the same one for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SentimentModel(load_encoder().bert).eval()
