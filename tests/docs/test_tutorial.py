"""The tutorial's code runs from top to bottom, quickly, and the notebook keeps no outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"
CELLS = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_it_runs(tmp_path: Path) -> None:
    code = "\n".join("".join(cell["source"]) for cell in CELLS)
    path = os.pathsep.join([str(NOTEBOOK.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "bsr 4×1" in done.stdout and "manifest.json" in done.stdout
    assert len(list(tmp_path.rglob("manifest.json"))) == 1


def test_nothing_that_it_printed_is_stored() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CELLS)
