# Everything starts from Python 3.11 or newer: the targets make their own environment and install into it.
PYTHON ?= python3
ARGS ?=
WORKERS ?= 2

VENV := .venv
BENCH := .venv-bench
BIN := $(VENV)/bin
PIP := -m pip --disable-pip-version-check --quiet install --constraint constraints.txt

# One BLAS thread: the matrices are tiny, and threads that wait for each other cost more than they save.
export OPENBLAS_NUM_THREADS := 1
export NO_MKDOCS_2_WARNING := 1

.PHONY: help drive test lint bench docs clean

help:
	@echo "make drive   run the main job on its built-in recording (ARGS='my.csv --out results' for your own)"
	@echo "make test    lint, types, import floors, tests, executed documentation"
	@echo "make bench   every benchmark, peers in an environment of their own"
	@echo "make docs    the documentation, into site/"
	@echo "make clean   remove environments and caches; results in foresee-out/ stay"

drive: $(VENV)/.core
	$(BIN)/foresee drive $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

test: lint docs
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

docs: $(VENV)/.test
	$(BIN)/mkdocs build --strict --quiet

bench: $(BENCH)/.bench
	$(BENCH)/bin/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) $(BENCH) site build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find foresee tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# A stamp file inside each environment says what is in it; a changed dependency list makes it stale.
$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/.made
	$(BIN)/python $(PIP) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/.made
	$(BIN)/python $(PIP) --editable '.[test,docs]'
	@touch $@ $(VENV)/.core

$(BENCH)/.bench: pyproject.toml constraints.txt benchmarks/requirements.txt | $(BENCH)/.made
	$(BENCH)/bin/python $(PIP) --editable '.[nuts]' --requirement benchmarks/requirements.txt
	@touch $@

%/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "foresee needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $*
	@touch $@
