#!/usr/bin/env bash
# pyarrow 26.0.1, duckdb 1.5.6 and polars 1.44.2: rows of a parquet file selected by a filter, beside the same filter of the same
# rows in memory. The column holds NaN, as missing numbers of tables are written that come from NumPy.
#
# Guess: a filter that is handed to the reader saves reading and gives the same rows.
# Seen: parts of a file (row groups) are skipped by their smallest and largest number, and a NaN counts for neither. A part that
# holds 1, 1 and NaN is taken for ones: pyarrow loses its NaN for x != 1, for "not in", for not (x <= 1), and even for
# is_nan. DuckDB, for which NaN is above all numbers, loses it for x > 1, x != 1 and x > 5. No warning, and it depends on
# how rows were divided. polars reads such parts and gives every row. Read first, filter then.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1 duckdb==1.5.6 polars==1.44.2
"$folder/venv/bin/python" -W ignore - "$folder/numbers.parquet" <<'PY'
import sys

import duckdb
import polars
import pyarrow
import pyarrow.compute
import pyarrow.parquet

table = pyarrow.table({"x": [1.0, 1.0, float("nan"), 2.0, float("nan"), 3.0]})
pyarrow.parquet.write_table(table, sys.argv[1], row_group_size=3)
x, counts = pyarrow.compute.field("x"), {}
filters = {"x != 1": x != 1, "not in": ~x.isin([1.0]), "not x <= 1": ~(x <= 1), "is_nan": pyarrow.compute.is_nan(x)}
for name, condition in filters.items():
    counts["pyarrow", name] = len(pyarrow.parquet.read_table(sys.argv[1], filters=condition)), len(table.filter(condition))
database = duckdb.connect()
database.execute(f"create table numbers as select * from '{sys.argv[1]}'")
for name in ("x > 1", "x != 1", "x > 5"):
    ask = "select x from {} where " + name
    counts["duckdb", name] = tuple(len(database.execute(ask.format(each)).fetchall()) for each in (f"'{sys.argv[1]}'", "numbers"))
for name, condition in {"x > 1": polars.col("x") > 1, "x != 1": polars.col("x") != 1, "is_nan": polars.col("x").is_nan()}.items():
    frame = polars.scan_parquet(sys.argv[1])
    counts["polars", name] = len(frame.filter(condition).collect()), len(frame.collect().filter(condition))
for (library, name), (file, memory) in counts.items():
    print(f"{library} {name}: {file} rows of the file, {memory} in memory")
lost = {"pyarrow": 1, "polars": 0, "duckdb": 1}
assert all(memory - file == (2 if name == "x > 5" else lost[library]) for (library, name), (file, memory) in counts.items())
PY
