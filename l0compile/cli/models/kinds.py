"""Tell by name and files what a MODEL on the command line is. Imports nothing heavy."""

import re
from pathlib import Path

from l0compile.errors import ConfigError

FUNCTION, EXPORTED, HUGGING_FACE, SAVED = "function", "exported", "hugging_face", "saved"


def is_shape(text: str) -> bool:
    """Return whether ``text`` is ``OUTxIN`` features of a linear layer, which ``tune`` takes beside models."""
    return re.fullmatch(r"\d+x\d+", text) is not None


def kind_of(name: str, saved: bool = True) -> str:
    """Return which of the four kinds above a model is.

    Args:
        name: What the command line says.
        saved: Whether the command takes a saved model.

    Raises:
        ConfigError: It is none of them; the message says what the command takes.
    """
    path = Path(name)
    if path.is_dir():
        for file, kind in (("manifest.json", SAVED), ("config.json", HUGGING_FACE)):
            if (path / file).is_file() and (saved or kind != SAVED):
                return kind
        if (path / "manifest.json").is_file():
            raise ConfigError(
                f"model: {name}: is compiled already, for `l0compile explain` and `bench`; {_wanted(saved)}"
            )
        raise ConfigError(
            f"model: {name}: a folder without config.json{' or manifest.json' if saved else ''}; {_wanted(saved)}"
        )
    if path.suffix == ".pt2":
        if not path.is_file():
            raise ConfigError(f"model: {name}: no such file; {_wanted(saved)}")
        return EXPORTED
    where, colon, function = name.rpartition(":")
    if where and colon and function and not path.exists():
        if where.endswith(".py") and not Path(where).is_file():
            raise ConfigError(f"model: {where}: no such file; {_wanted(saved)}")
        return FUNCTION
    hint = f"; did you mean {name}:make?" if path.suffix == ".py" and path.exists() else ""
    raise ConfigError(f"model: {_wanted(saved)}, got {name!r}{hint}")


def _wanted(saved: bool) -> str:
    more = ", a saved model's folder" if saved else ""
    return f"expected MODULE:FUNCTION, FILE.py:FUNCTION, FILE.pt2{more} or a Hugging Face model's folder"
