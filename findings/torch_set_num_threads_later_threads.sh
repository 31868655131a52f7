#!/usr/bin/env bash
# torch 2.13.0, torch.set_num_threads in a worker thread of a Python program, on the CPU (OpenMP and MKL).
#
# Guess: a worker's number is its own, or else that of the whole process: it changes every thread, or no other.
# Seen: something between. A thread that has asked for its number before keeps it. Every thread that starts later has the
# worker's number, and so has one that runs already but never asked: the main thread too, although it set its own to 4.
# So a pool whose workers limit themselves to one thread leaves later threads with one, while the main thread, where one
# would look, may still say four.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
cat > "$folder/limits.py" <<'PY'
import sys
import threading

import torch


def in_new_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


torch.set_num_threads(4)
asked = sys.argv[1] == "asked"
if asked:
    assert torch.get_num_threads() == 4
in_new_thread(lambda: torch.set_num_threads(1))
main, later = torch.get_num_threads(), in_new_thread(torch.get_num_threads)
print(f"torch {torch.__version__}, main thread {sys.argv[1]}: after a worker took 1, main {main}, a new thread {later}")
assert (main, later) == (4 if asked else 1, 1)
PY
"$folder/venv/bin/python" "$folder/limits.py" asked
"$folder/venv/bin/python" "$folder/limits.py" unasked
