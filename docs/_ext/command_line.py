"""The command line as Markdown, from the parser that the command itself uses."""

import argparse
import re
from collections.abc import Iterator

from l0compile.cli.parser import build_parser

WIDTH = 96


def render() -> str:
    """A section for `l0compile` itself and one for each command."""
    parser = build_parser()
    (choices,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    parts = [*_body(parser, skip=choices)]
    for name, command in choices.choices.items():
        parts += [f"## l0compile {name}", *_body(command)]
    return "\n\n".join(parts) + "\n"


def _body(parser: argparse.ArgumentParser, skip: argparse.Action | None = None) -> Iterator[str]:
    yield _prose(parser.description or "")
    yield f"```text\n{_usage(parser)}\n```"
    listed = [a for a in parser._actions if a is not skip and not isinstance(a, argparse._HelpAction)]
    if listed:
        yield "\n\n".join(_definition(action) for action in listed)
    yield from _epilog(parser.epilog or "")


def _usage(parser: argparse.ArgumentParser) -> str:
    formatter = argparse.HelpFormatter(parser.prog, width=WIDTH)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    return formatter.format_help().strip()


def _definition(action: argparse.Action) -> str:
    """One argument: how it is written, and what it does."""
    value = _value(action)
    written = [f"{option} {value}".strip() for option in action.option_strings] or [value]
    help_text = " ".join((action.help or "").split())
    return ", ".join(f"`{text}`" for text in written) + f"\n: {_prose(help_text)}"


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    name = action.metavar or action.dest.upper()
    return f"{name} ..." if action.nargs in ("+", "*") else str(name)


def _epilog(text: str) -> Iterator[str]:
    """Prose at the margin, code indented below it."""
    for code, lines in _runs(text):
        if code:
            margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
            body = "\n".join(line[margin:] for line in lines).strip("\n")
            yield f"```text\n{body}\n```"
        else:
            prose = _prose(" ".join(" ".join(lines).split()))
            yield prose[:1].upper() + prose[1:]


def _runs(text: str) -> Iterator[tuple[bool, list[str]]]:
    """Whether lines are code, and the lines, as long as they are of one kind and paragraph."""
    kind, lines = False, list[str]()
    for line in text.splitlines():
        indented = line.startswith(" ")
        if lines and (indented != kind or not line.strip()):
            yield kind, lines
            lines = []
        if line.strip():
            kind = indented
            lines.append(line)
    if lines:
        yield kind, lines


def _prose(text: str) -> str:
    """``text`` with options as code, and what Markdown would read as markup escaped outside of code."""
    parts = re.split(r"(`[^`]*`)", re.sub(r"(?<![\w`-])(--[a-z][\w-]*)(?!`)", r"`\1`", text))
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_<>\[\]|])", r"\\\1", part) for part in parts
    )
