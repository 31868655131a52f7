"""``l0compile search``: find which zeros to have, and leave the model, the study and the report in a folder."""

import argparse
from pathlib import Path

import l0compile as l0
from l0compile.cli.output import print_json, print_rich
from l0compile.errors import ConfigError
from l0compile.hardware.targets import shipped_folder
from l0compile.report.terminal import asked_lines, comparison_table
from l0compile.report.write import write_report
from l0compile.studies.entry import assist_search
from l0compile.studies.result import SearchResult
from l0compile.tasks import joined

MISSED = 3
"""Exit code of a search that ended well, but whose model is below the quality target."""


def run(args: argparse.Namespace) -> int:
    """Search, write the report and print the final table; of the processes of ``torchrun``, the first does so."""
    text = None if args.text is None else Path(args.text)
    out = Path(args.out)
    space = find_space(args.space)
    with joined() as team:
        if team is not None and team.rank > 0:
            assist_search(space, team, text=text)
            return 0
        result = l0.search(
            space, out, text=text, target=args.target, quick=args.quick, resume=args.resume, storage=args.storage,
            study=args.study, team=team,
        )  # fmt: skip
    paths = write_report(result, out)
    code = exit_code(result)
    if args.json:
        print_json({"files": [str(path) for path in paths]} | result.to_dict())
        return code
    # What was asked for comes last, as a screen may show only the end.
    print_rich(comparison_table(result), f"chosen model, study and report: {out}", *asked_lines(result))
    return code


def exit_code(result: SearchResult) -> int:
    """Return ``MISSED`` if the chosen model is below the quality target, else 0."""
    return MISSED if any(item.kind == "quality" and not item.met for item in result.asked) else 0


def find_space(name: str) -> Path:
    """Return the file of a space.

    Args:
        name: A path, or the name of a shipped space.

    Raises:
        ConfigError: There is no such space.
    """
    folder = shipped_folder("search_spaces")
    for path in (Path(name), folder / f"{name}.toml"):
        if path.is_file():
            return path
    shipped = ", ".join(sorted(path.stem for path in folder.glob("*.toml"))) or "none"
    raise ConfigError(f"search: expected a .toml file or a shipped space ({shipped}), got {name!r}")
