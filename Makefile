# Everything is set up in a local .venv; `make demo` and `make test` need nothing done before them.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STUDY ?= labs/digits/dropout.yaml

.PHONY: demo test check clean
.DEFAULT_GOAL := demo

demo: $(VENV)/installed
	$(BIN)/assay run $(STUDY)

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/python-found:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "assay needs Python 3.11 or newer; name one with: make PYTHON=python3.12 demo"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: pyproject.toml | $(VENV)/python-found
	$(BIN)/python -m pip install --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/python-found
	$(BIN)/python -m pip install --editable '.[dev]'
	@touch $(VENV)/installed $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
