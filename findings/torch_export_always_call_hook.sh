#!/usr/bin/env bash
# torch 2.13.0: a forward hook with always_call=True and a forward() that raises, called and exported.
#
# Guess: the hook runs in both cases. The argument promises "always called, even if an exception is raised", and
# non-strict export calls the module as it is.
# Seen: the hook runs when the module is called, but not during export, and no warning says so. Whatever the hook should
# undo (a mode that a pre-hook entered) stays behind in the process.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
"$folder/venv/bin/python" - <<'PY'
import torch


class Raises(torch.nn.Module):
    def forward(self, x):
        raise ValueError("on purpose")


def runs(call):
    model, seen = Raises(), []
    model.register_forward_hook(lambda *_: seen.append(True), always_call=True)
    try:
        call(model)
    except ValueError:
        return bool(seen)


x = torch.randn(2)
found = {
    "called": runs(lambda model: model(x)),
    "exported": runs(lambda model: torch.export.export(model, (x,), strict=False)),
}
print("the hook ran:", found)
assert found == {"called": True, "exported": False}, found
PY
