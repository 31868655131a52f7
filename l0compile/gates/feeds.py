"""Pairs of layers where one reads the outputs of the other, expanded from pairs of name patterns."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import nn

from l0compile.errors import GateError


def consumers_of(modules: Mapping[str, nn.Module], feeds: Mapping[str, str]) -> dict[str, str]:
    """Find the consumer of every module that a producer pattern matches.

    Args:
        modules: Module path -> module.
        feeds: Producer pattern -> consumer pattern; the n-th ``*`` of both stands for the same text.

    Returns:
        Path of the producer -> path of the consumer.

    Raises:
        GateError: A producer pattern matches no module, its consumer does not exist, or the consumer pattern has more
            ``*`` than the producer pattern.
    """
    found: dict[str, str] = {}
    for producer, consumer in feeds.items():
        pairs = {name: _fill(producer, consumer, name) for name in modules if fnmatchcase(name, producer)}
        if not pairs:
            raise GateError(f"budget: feeds pattern {producer!r} matches no module")
        for name, path in pairs.items():
            if path not in modules:
                raise GateError(
                    f"budget: feeds {producer!r} -> {consumer!r} sends {name!r} to {path!r}, which does not exist"
                )
        found |= pairs
    return found


def _fill(producer: str, consumer: str, name: str) -> str:
    texts = re.fullmatch("(.*?)".join(map(re.escape, producer.split("*"))), name)
    if texts is None or consumer.count("*") > producer.count("*"):
        raise GateError(
            f"budget: feeds {producer!r} -> {consumer!r}: use only '*', and no more of them on the right"
        )
    for text in texts.groups()[: consumer.count("*")]:
        consumer = consumer.replace("*", text, 1)
    return consumer
