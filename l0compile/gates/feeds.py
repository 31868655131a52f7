"""Which linear layer reads the outputs of which: pairs of name patterns, expanded to pairs of modules."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import nn

from l0compile.errors import GateError


def consumers_of(modules: Mapping[str, nn.Module], feeds: Mapping[str, str]) -> dict[str, str]:
    """Producer module path -> consumer module path, for every module that a producer pattern matches.

    Raises:
        GateError: a pattern matches nothing, leads to no module, or has more ``*`` on the right than on the left.
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
