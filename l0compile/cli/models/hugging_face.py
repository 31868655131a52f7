"""Load folders of ``save_pretrained``, and make up inputs for their models."""

import importlib
import inspect
from typing import Any

import torch

from l0compile.errors import ConfigError, MissingDependency

SIZES = ("batch", "tokens")
BATCH, TOKENS = 1, 128


def load(
    folder: str, batch: int = BATCH, tokens: int = TOKENS
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return (model in eval mode and float32, (), inputs by name).

    Nothing is downloaded, no code from the folder is run and no pickle is read. A text model gets random token ids and
    a full attention mask, both int64 ``[batch, tokens]``; a vision model gets random float32 pixels ``[batch, channels,
    height, width]`` of the size in its configuration.

    Args:
        folder: Has ``config.json``, which names the class, and safetensors.
        batch: Number of texts or images.
        tokens: Length of each text.

    Raises:
        MissingDependency: transformers is not installed.
        ConfigError: The folder cannot be loaded, or the model takes neither text nor images.
    """
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise MissingDependency(
            "a Hugging Face folder needs transformers: pip install transformers"
        ) from error
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        names = getattr(config, "architectures", None) or ["AutoModel"]
        kind = getattr(transformers, names[0], transformers.AutoModel)
        model = kind.from_pretrained(
            folder, config=config, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    except Exception as error:  # transformers raises whatever its readers meet
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"model: {folder}: transformers cannot load it: {reason[0]}") from error
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False  # a cache is state, and not part of the answer of one call
    return model.eval(), (), _inputs(model, folder, batch, tokens)


def _inputs(model: Any, folder: str, batch: int, tokens: int) -> dict[str, Any]:
    random = torch.Generator().manual_seed(0)
    takes, config = inspect.signature(model.forward).parameters, model.config
    if model.main_input_name == "input_ids":
        shape = (batch, tokens)
        found = {"input_ids": torch.randint(config.get_text_config().vocab_size, shape, generator=random)}
        if "attention_mask" in takes:
            found["attention_mask"] = torch.ones(shape, dtype=torch.int64)
        if getattr(config, "is_encoder_decoder", False):
            found["decoder_input_ids"] = found["input_ids"].clone()
        return found
    if model.main_input_name == "pixel_values" and hasattr(config, "image_size"):
        side = config.image_size
        height, width = side if isinstance(side, list | tuple) else (side, side)
        channels = getattr(config, "num_channels", 3)
        return {"pixel_values": torch.randn(batch, channels, height, width, generator=random)}
    raise ConfigError(
        f"model: {folder}: {type(model).__name__} takes {model.main_input_name!r}, for which no input can be made up; "
        "write a function that returns (model, args, kwargs), and give FILE.py:FUNCTION"
    )
