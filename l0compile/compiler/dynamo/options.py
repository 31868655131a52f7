"""What ``torch.compile`` was given in ``options`` and ``mode``."""

import logging
from collections.abc import Mapping
from typing import Any

from l0compile.errors import ConfigError

_log = logging.getLogger("l0compile")
_OPTIONS = {"target": "native", "verify": True, "engine": "auto", "threads": None, "fallback": True}


def read_options(options: Mapping[str, Any] | None, mode: str | None) -> dict[str, Any]:
    """Return the backend's options, with defaults for the others.

    It accepts a mode or option of inductor's, such as CUDA graphs: that asks for speed and says nothing about
    answers.

    Raises:
        ConfigError: neither this backend nor inductor has such an option or mode.
    """
    given = dict(options or {})
    foreign = sorted(set(given) - set(_OPTIONS))
    if mode is None and not foreign:
        return _OPTIONS | given
    from torch._inductor import list_mode_options, list_options

    known = {name.replace("-", "_") for name in list_options()}
    unknown = [name for name in foreign if name.replace("-", "_") not in known]
    if unknown:
        raise ConfigError(
            f"torch.compile: options: expected some of {', '.join(_OPTIONS)}, or inductor's, got {unknown}"
        )
    modes = {"default", *list_mode_options()}
    if mode is not None and mode not in modes:
        raise ConfigError(f"torch.compile: mode: expected one of {', '.join(sorted(modes))}, got {mode!r}")
    _log.info("left alone, as they are inductor's: %s", [*foreign, *([mode] if mode else [])])
    return _OPTIONS | {name: value for name, value in given.items() if name in _OPTIONS}
