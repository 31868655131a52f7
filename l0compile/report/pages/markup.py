"""HTML that cannot be broken by what is put in it, and a page around it that fetches nothing."""

import base64
import hashlib
import html

from l0compile.report.pages.style import CSS


class Markup(str):
    """Text that is already HTML. Everything else is escaped by ``tag``."""


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """``<name attributes>children</name>``. Children that are not ``Markup`` are escaped, and so are attributes."""
    pairs = "".join(f' {key.rstrip("_")}="{html.escape(str(value))}"' for key, value in attributes.items())
    if name in ("img", "meta", "wbr"):
        return Markup(f"<{name}{pairs}>")
    inner = "".join(child if isinstance(child, Markup) else html.escape(str(child)) for child in children)
    return Markup(f"<{name}{pairs}>{inner}</{name}>")


def table(titles: tuple[str, ...], rows: list[Markup], **attributes: object) -> Markup:
    """Rows under titles (none: no head), or a sentence where there are no rows."""
    if not rows:
        return tag("p", "Nothing was recorded.")
    head = [tag("thead", tag("tr", *(tag("th", title) for title in titles)))] if titles else []
    return tag("div", tag("table", *head, tag("tbody", *rows), **attributes), class_="scroll")


def page(title: str, body: Markup, script: str = "") -> str:
    """A whole page. ``script`` is ours and constant: its hash is the only code that the browser is allowed to run."""
    # Should a value ever slip through unescaped, the browser still runs and fetches nothing.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">'),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(CSS)),
    )
    code = (tag("script", Markup(script)),) if script else ()
    return "<!doctype html>\n" + tag("html", head, body, *code, lang="en") + "\n"
