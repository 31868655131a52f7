"""Write the pages that come from the code, before Sphinx reads anything: they can't say what is no longer so."""

from pathlib import Path
from typing import Any

import command_line
import life_of_a_layer

PAGES = {"command_line.md": command_line.render, "life_of_a_layer.md": life_of_a_layer.render}


def write(folder: Path) -> None:
    """Write each page that changed into ``folder``; the others keep their time, so that a rebuild is quick."""
    folder.mkdir(exist_ok=True)
    for name, render in PAGES.items():
        text, file = render(), folder / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "_generated"))
    return {"parallel_read_safe": True}
