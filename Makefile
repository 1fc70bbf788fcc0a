# Cohort Almanac. `make help` lists the targets. Everything happens in .venv and .almanac below this folder.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=

# The newest Python that every pinned dependency has wheels for.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)

# uv trusts its own list of authorities; where the system has one (a company's may be in it), that is the better.
export UV_SYSTEM_CERTS := $(if $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/ssl/cert.pem /etc/pki/tls/certs/ca-bundle.crt),true,false)

# Without kept bytecode every command compiles Dagster and dbt anew: over 2 s more each (some containers set this).
# `install` imports all that commands import, so that they find it even where they may not keep any.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install lock demo test bench soak docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Create .venv with the locked dependencies (repeats only when they changed)

$(INSTALLED): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; none was found on PATH."; exit 1; }
	@echo "installing into $(VENV) with $(PYTHON)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot create a virtual environment; on Debian install python3-venv."; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/almanac db prepare >/dev/null
	@$(BIN)/python -c 'import almanac_pipeline.definitions'
	@touch $@

LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate pyproject.toml

lock: $(INSTALLED) ## Resolve the dependencies anew into requirements.lock, and those of the images into docker/
	$(LOCK) --upgrade --group dev -o requirements.lock
	$(LOCK) --upgrade --group containers -c requirements.lock -o docker/requirements.lock

demo: install ## The main job on a stand-in site, then the Dagster UI (ARGS=--exit: without the UI)
	@$(BIN)/almanac demo $(ARGS)

test: install ## Lint, types, dbt and pytest with a real PostgreSQL: what decides
	@bash tests/run $(ARGS)

bench: install ## Measure the hot paths; JSON on standard output
	@$(BIN)/python -m bench $(ARGS)

soak: install ## What takes longer than tests may: three weeks of 20 cohorts with faults, 100 killed syncs, 50 random lives, 200,000 damaged pages (ARGS of the weeks: --days 3 --cohorts 3 --seed 2 --json)
	@TEST_KILL_EXAMPLES=100 $(BIN)/pytest -q --timeout 0 -o faulthandler_timeout=0 tests/flows/test_killed_anywhere.py
	@TEST_WORLDS=50 $(BIN)/pytest -q tests/flows/test_random_worlds.py
	@$(BIN)/pytest -q -m soak
	@$(BIN)/python -m tests.sources.fuzz_parsers --mutants 200000
	@$(BIN)/python -m bench.soak $(ARGS)

docs: install ## Write the documentation: the site, and dbt's page of every table and column
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open .almanac/site/index.html in a browser"
	@$(BIN)/almanac docs

clean: ## Stop the embedded database and remove .venv and .almanac
	@if [ -x $(BIN)/almanac ]; then $(BIN)/almanac down; fi
	rm -rf $(VENV) .almanac dbt_project/target dbt_project/logs
