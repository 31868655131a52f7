"""Pages from Jinja2 templates: one file each, which fetches nothing; every value is escaped."""

import base64
import functools
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from l0compile.report.blocks import kept, percent
from l0compile.report.plots.colours import FORMAT_COLOURS, dark_twin, density_colour, ink_on, themed
from l0compile.runtime.account.text import format_text, milliseconds, shape_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def render(template: str, script: str | None = None, **values: Any) -> str:
    """Return a whole page.

    Args:
        template: File name in the folder ``templates``.
        script: File name of the page's script there. Its hash is the only code that the browser may run.
        values: What the template shows, ``title`` among it.
    """
    from markupsafe import Markup

    pages = _environment()
    # Should a value ever slip through unescaped, the browser still runs and fetches nothing.
    policy, code = "default-src 'none'; style-src 'unsafe-inline'", ""
    if script is not None:
        code = pages.get_template(script).render()
        policy += f"; script-src 'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
    return pages.get_template(template).render(policy=policy, script=Markup(code), **values)


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("l0compile.report.pages"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    pages.filters |= {
        "breakable": _breakable, "format": format_text, "kept": kept, "ms": milliseconds, "number": _number,
        "percent": percent, "shape": shape_text, "words": _words,
    }  # fmt: skip
    pages.globals |= {"density_style": _density_style, "format_style": _format_style, "themed": themed}
    return pages


def _breakable(name: str) -> "Markup":
    """Return ``name`` with places after its dots where a narrow page may break it."""
    from markupsafe import Markup

    return Markup(".<wbr>").join(name.split("."))


def _density_style(density: float) -> str:
    """Return the style of a cell that shows ``density``, with text that can be read in both themes."""
    colour = density_colour(density)
    ink, dark_ink = ink_on(colour), ink_on(dark_twin(colour))
    return f"{themed('background', colour)};color:{ink};color:light-dark({ink},{dark_ink})"


def _format_style(name: str) -> str:
    """Return the style of a bar that shows a region of the format ``name``."""
    return themed("background", FORMAT_COLOURS.get(name, "#334e68"))


def _number(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _words(value: object) -> str:
    """Return a fact as people write it, whatever it consists of."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(key).replace('_', ' ')} {_words(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return _number(value)
