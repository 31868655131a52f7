"""``l0compile search``: find which zeros to have, and leave model, study and report in a folder."""

import argparse
from pathlib import Path

import l0compile as l0
from l0compile.cli.output import print_json, print_rich
from l0compile.errors import ConfigError
from l0compile.report import asked_lines, comparison_table, write_report
from l0compile.search import assist_search
from l0compile.targets import shipped_folder
from l0compile.tasks import joined


def run(args: argparse.Namespace) -> int:
    """Search, write the report, print the final table. Of processes started by ``torchrun`` the first does that."""
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
    if args.json:
        print_json({"files": [str(path) for path in paths]} | result.to_dict())
        return 0
    print_rich(comparison_table(result), *asked_lines(result), f"chosen model, study and report: {out}")
    return 0


def find_space(name: str) -> Path:
    """The file of the space ``name``: a path, or the name of a shipped one. Raises ``ConfigError`` if there is none."""
    folder = shipped_folder("search_spaces")
    for path in (Path(name), folder / f"{name}.toml"):
        if path.is_file():
            return path
    shipped = ", ".join(sorted(path.stem for path in folder.glob("*.toml"))) or "none"
    raise ConfigError(f"search: expected a .toml file or a shipped space ({shipped}), got {name!r}")
