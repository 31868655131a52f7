#!/usr/bin/env bash
# msgspec 0.22.0: an ordinary dataclass decoded from data that leaves out a field with a default.
#
# Guess: the result is what the constructor makes, with every field in the instance.
# Seen: attribute access, == and dataclasses.asdict agree with the constructor, but the default stays on the class: vars()
# lacks the field. Code that copies fields by vars() or **vars() loses them without an error, and a default that the class
# gets later changes objects that were decoded before.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check msgspec==0.22.0
cat > "$folder/defaults.py" <<'PY'
import dataclasses

import msgspec


@dataclasses.dataclass(frozen=True)
class Limit:
    ms: float
    percentile: int = 50


made, decoded = Limit(4.0), msgspec.convert({"ms": 4.0}, Limit)
seen = {"equal": made == decoded, "constructor": vars(made), "decoded": vars(decoded)}
Limit.percentile = 95
seen["after the class changes"] = (made.percentile, decoded.percentile)
print(seen)
assert seen == {
    "equal": True,
    "constructor": {"ms": 4.0, "percentile": 50},
    "decoded": {"ms": 4.0},
    "after the class changes": (50, 95),
}, seen
PY
"$folder/venv/bin/python" "$folder/defaults.py"
