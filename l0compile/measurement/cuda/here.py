"""The GPU of this machine, with everything that measuring on it needs, or an error that says what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

from l0compile.errors import DeviceError, MissingDependency, TargetError
from l0compile.hardware.targets import Card, Target, list_targets, load_target, read_cards, target_of_card
from l0compile.kernels.cuda.toolchain import Toolchain, find_toolchain


@dataclass(frozen=True)
class GpuHere:
    """A card that can be measured.

    Attributes:
        card: as its driver names it.
        target: the shipped one whose code runs on it.
        tools: what kernels are compiled with.
    """

    card: Card
    target: Target
    tools: Toolchain


def require_gpu(cards: Sequence[Card] | None = None) -> GpuHere:
    """Return the first card of this machine; ``cards``: default: those that the driver lists.

    Raises:
        DeviceError: there is no driver, or no card.
        TargetError: no shipped target is for the card.
        MissingDependency: PyTorch is built without CUDA, or there is no compiler; the message says what to install.
    """
    import torch

    found = read_cards() if cards is None else tuple(cards)
    if not found:
        raise DeviceError(
            "gpu: no NVIDIA driver answers here (nvidia-smi lists no card); run this where there is a GPU and its "
            "driver, or give a device behind a tracker: --rpc rpc://HOST:PORT/KEY?target=cuda-sm90"
        )
    target = target_of(found[0])
    if not torch.cuda.is_available():
        raise MissingDependency(
            f"gpu: {found[0].name} is here, and PyTorch {torch.__version__} sees no GPU; install a build for CUDA: "
            f"pip install torch=={torch.__version__.partition('+')[0]}"
        )
    return GpuHere(found[0], target, find_toolchain())


def target_of(card: Card) -> Target:
    """The shipped target that knows most of a card among those whose code runs on it.

    Raises:
        TargetError: there is none.
    """
    found = target_of_card(card)
    if found is None:
        known = ", ".join(load_target(name).cpu for name in list_targets() if name.startswith("cuda"))
        raise TargetError(
            f"gpu: {card.name} is {card.cpu}, and there are targets for {known}; write a file for it, see the page "
            "'Add a target'"
        )
    return found
