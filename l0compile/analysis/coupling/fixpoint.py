"""Propagate the channels that must stay along the links between axes, until nothing changes."""

from collections import defaultdict, deque
from collections.abc import Iterator

from torch import Tensor

from l0compile.analysis.coupling.axes import Link, TensorAxis


def propagate(masks: dict[TensorAxis, Tensor], links: list[Link], changed: set[TensorAxis]) -> None:
    """Grow ``masks`` in place until no link adds a channel; ``changed`` are the axes to start from."""
    by_axis: dict[TensorAxis, list[Link]] = defaultdict(list)
    for link in links:
        for axis in link.axes:
            by_axis[axis].append(link)
    queue = deque(changed)
    waiting = set(changed)
    while queue:
        start = queue.popleft()
        waiting.discard(start)
        for link in by_axis[start]:
            for axis in _grow(masks, link):
                if axis not in waiting:
                    waiting.add(axis)
                    queue.append(axis)


def _grow(masks: dict[TensorAxis, Tensor], link: Link) -> Iterator[TensorAxis]:
    grown = link.grow([masks[axis] for axis in link.axes])
    for axis, mask in zip(link.axes, grown, strict=True):
        if bool((mask & ~masks[axis]).any()):
            masks[axis] = masks[axis] | mask
            yield axis
