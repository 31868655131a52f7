"""An HTML page taken apart, for tests of what is on it."""

from html.parser import HTMLParser

HOSTILE = "<script>alert('x')</script>\"&'"
_VOID = {"meta", "wbr"}


class Page(HTMLParser):
    """Tags in order, text, and attributes; fails on a tag that is closed out of order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.values: list[tuple[str, str]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.values += [(key, value or "") for key, value in attrs]
        if name not in _VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text.append(data)
