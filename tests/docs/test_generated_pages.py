"""Pages made from the code: every command and option, and what each pass did to a layer."""

import argparse
import re

import command_line
import life_of_a_layer
import pytest

from l0compile.cli.parser import build_parser

PARSER = build_parser()
(COMMANDS,) = (a.choices for a in PARSER._actions if isinstance(a, argparse._SubParsersAction))


@pytest.fixture(scope="module")
def life() -> str:
    return life_of_a_layer.render()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_section_has_every_option_and_example(name: str) -> None:
    text = command_line.render()
    section = text.partition(f"## l0compile {name}\n")[2].partition("\n## ")[0]
    for action in COMMANDS[name]._actions:
        written = action.option_strings[0] if action.option_strings else action.metavar
        if written and not isinstance(action, argparse._HelpAction):
            assert f"`{written}" in section
    shown = [line.strip() for line in (COMMANDS[name].epilog or "").splitlines() if "l0compile " in line[:20]]
    assert shown and all(line in section for line in shown)


def test_every_pass_is_told_of_once_and_in_order(life: str) -> None:
    told = []
    for line in life.splitlines():
        if line.startswith("### "):
            told.append(line[4:])
        elif line.startswith("Nothing to do for"):
            told += re.findall(r"`(\w+)`", line)
    assert told == [step.name for group in life_of_a_layer.groups() for step in group.passes]


def test_the_layer_is_pruned_in_front_of_the_readers_eyes(life: str) -> None:
    headings = re.findall(r"^### (\w+)$", life, flags=re.MULTILINE)
    assert {"fold_constants", "fold_gates", "compact", "choose_formats", "pack_tokens"} <= set(headings)
    assert "bsr_linear" in life and "packed_linear" in life and "'gelu'" in life


def test_listings_differ_where_the_page_says_so() -> None:
    assert life_of_a_layer.difference("a\nb", "a\nc") == "  a\n- b\n+ c"
