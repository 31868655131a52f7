"""Convolutional nets, small but true in structure, pruned by channels: what of the dead ones is really gone.

``NETS`` maps name -> a function that gives (module, inputs); ``pruned`` puts the zeros in; ``count`` says what a
perfect compiler would have left, ``multiplications`` what a program has.
"""

from tests.zoo.channels import audio, images, mobile, vision, yolo
from tests.zoo.channels.counting import Count as Count
from tests.zoo.channels.counting import count as count
from tests.zoo.channels.counting import multiplications as multiplications
from tests.zoo.channels.pruned import Net
from tests.zoo.channels.pruned import pruned as pruned

_ALL: tuple[Net, ...] = (
    mobile.shufflenet, mobile.ghostnet, mobile.mobilenet_v3, mobile.coordinate_attention, mobile.depthwise_stack,
    mobile.efficientnet, vision.resnet18, vision.densenet, vision.cbam, vision.onet, vision.ssd,
    vision.group_norm_head, vision.deeplab, yolo.yolo, yolo.crnn, images.unet, images.unet_3d,
    images.super_resolution, images.nafnet, images.style_transfer, audio.vocoder, audio.crepe, audio.speaker,
)  # fmt: skip

NETS: dict[str, Net] = {net.__name__: net for net in _ALL}
