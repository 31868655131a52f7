"""The README's Python runs as it stands there, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

# One thread: a step of this model is too short to be shared between several.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
README = Path(__file__).parent.parent / "README.md"


def test_python_block_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    assert "compiled" in done.stdout or "bsr" in done.stdout, done.stdout
    assert (tmp_path / "fast" / "manifest.json").exists()
