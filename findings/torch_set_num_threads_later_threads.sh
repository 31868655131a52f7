#!/usr/bin/env bash
# torch 2.13.0, torch.set_num_threads in a worker thread of a Python program, on the CPU (OpenMP and MKL).
#
# Guess: a worker's number is its own, or else that of the whole process: it changes every thread, or no other.
# Seen: something between. Threads that run already keep their number, the main one too; every thread that starts later
# has the worker's. So a pool whose workers limit themselves to one thread leaves all later threads with one, while the
# main thread, where one would look, still says four.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
cat > "$folder/numbers.py" <<'PY'
import threading

import torch


def in_new_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


torch.set_num_threads(4)
before = in_new_thread(torch.get_num_threads)
in_new_thread(lambda: torch.set_num_threads(1))
main, later = torch.get_num_threads(), in_new_thread(torch.get_num_threads)
print(f"torch {torch.__version__}: before {before}; after a worker asked for 1: main {main}, a new thread {later}")
assert (before, main, later) == (4, 4, 1)
PY
"$folder/venv/bin/python" "$folder/numbers.py"
