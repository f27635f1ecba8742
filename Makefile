# make demo   install and distil one student from three teachers (about six minutes after installing)
# make check  while working: style, types, import contract, the mathematics
# make test   install and check what the README promises: style, types, import contract, tests, coverage
# make test-deep  the rest of the tests: whole banks, thousands of programs, runs in processes of their own
# make help   the rest
#
# PYTHON=/path/to/python3.12 make demo    another interpreter (3.11 or newer)
# THREADS=8 make demo                     more threads for the work inside PyTorch
# PIP_INDEX_URL and pip's other variables are honoured: a CPU-only torch installs from wherever you point them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
# 3.11 first: it is what constraints.txt was tested with. A name that exists but does not run (a pyenv shim of a
# version that is not active) is passed over, so each candidate is run and not only looked up.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)
THREADS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# Test workers share the cores between them: more than one thread in each would only make them wait for each other.
WORKERS ?= 2
# A file's tests share a worker, so that what they share (a rule's certificate, a trained run) is made once.
ONCE := --dist loadscope
# The mathematics, room by room, and what holds of the package: no runs, no processes of their own.
QUICK := tests/axioms $(addprefix tests/unit/,axioms simplex losses aggregation scheme catalogue)

export PYTHONUNBUFFERED := 1
# Nothing is fetched from a hub at run time; a missing file should say so at once and not wait for a connection.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help install demo test check test-deep lint types imports doctest index teachers bench study docs clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Trivium needs Python 3.11 or newer; none found. Install one, or say PYTHON=/path/to/python3." >&2; exit 2; }
	@echo "==> making $(VENV) with $(PYTHON) ($$($(PYTHON) --version 2>&1))"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "That Python has no working venv module (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 2; }

# A stamp is newer than what it was installed from, so a change of either file installs again.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	@echo "==> 1/2 PyTorch (the large part)"
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	@echo "==> 2/2 Trivium and what it needs to run"
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "==> tools for the tests"
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.runtime
	@echo "==> tools for the docs"
	$(PIP) -e '.[docs]'
	@touch $@

install: $(VENV)/.runtime  ## the package alone, into .venv

demo: $(VENV)/.runtime  ## distil one student from three teachers, into runs/demo
	OMP_NUM_THREADS=$(THREADS) $(BIN)/trivium demo

test: export OMP_NUM_THREADS = 1
test: lint types imports  ## style, types, import contract, tests, doctests, coverage
	$(BIN)/python -m pytest tests src/trivium --doctest-modules -n $(WORKERS) $(ONCE) -m "not deep" --cov --cov-report=term -q

check: export OMP_NUM_THREADS = 1
check: lint types imports  ## what one runs while working: style, types, import contract, the mathematics
	$(BIN)/python -m pytest $(QUICK) -n $(WORKERS) $(ONCE) -m "not deep" -q

test-deep: export OMP_NUM_THREADS = 1
test-deep: $(VENV)/.dev  ## the rest of the tests: whole banks, thousands of programs, runs in processes of their own
	$(BIN)/python -m pytest tests -n $(WORKERS) $(ONCE) -m deep -q

lint: $(VENV)/.dev  ## style only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## types only
	$(BIN)/mypy

imports: $(VENV)/.dev  ## the import contract only
	$(BIN)/lint-imports

doctest: export OMP_NUM_THREADS = 1
doctest: $(VENV)/.dev  ## the examples in docstrings only
	$(BIN)/python -m pytest src/trivium --doctest-modules -q

index: $(VENV)/.dev  ## rewrite what the docs take from the sources: theorems, schema, catalogue, tables of the README and the results
	$(BIN)/python scripts/theorem_index.py
	$(BIN)/python scripts/theory_page.py
	$(BIN)/python scripts/certificate_schema.py
	$(BIN)/python scripts/rules_page.py
	$(BIN)/python scripts/quoted_tables.py

teachers: $(VENV)/.runtime  ## train again the teachers that the package ships
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python scripts/train_teachers.py

bench: $(VENV)/.runtime  ## run again the benchmarks that the docs quote
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python benchmarks/first_light.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/monitor.py

MINUTES ?= 60
study: $(VENV)/.dev  ## compare the catalogue's rules on five real settings (MINUTES=60); resumes
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.study --minutes $(MINUTES)

docs: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/.docs  ## build the documentation into site/
	$(BIN)/mkdocs build --strict

clean:  ## remove what was built and cached; .venv and runs/ stay
	rm -rf build dist site htmlcov src/*.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests scripts benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
