"""Runs Python text as a script in a process of its own, forked from one that imported the large packages."""

import multiprocessing
import os
import runpy
import tempfile
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
# What takes seconds to import. None of it starts a thread by being imported, so that a process may be forked after it.
_CONTEXT.set_forkserver_preload(
    ["torch", "torch.export", "torch._dynamo", "l0compile.compiler", "l0compile.studies.run", __name__]
)


def run_script(code: str, folder: Path, environment: dict[str, str]) -> str:
    """Run ``code`` in ``folder`` as ``python FILE`` would, and return what it printed.

    Raises:
        AssertionError: it ended with an error; the text has its traceback.
    """
    with tempfile.TemporaryDirectory() as place:
        script, output = Path(place) / "script.py", Path(place) / "output"
        script.write_text(code, encoding="utf-8")
        arguments = (str(script), str(folder), environment, str(output))
        process = _CONTEXT.Process(target=_child, args=arguments)
        process.start()
        process.join(300)
        if process.is_alive():
            process.kill()
            process.join()
        printed = output.read_text(encoding="utf-8")
    assert process.exitcode == 0, printed
    return printed


def _child(script: str, folder: str, environment: dict[str, str], output: str) -> None:
    os.environ.update(environment)
    os.chdir(folder)
    with open(output, "wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    runpy.run_path(script, run_name="__main__")
