# Farthing. `make` alone says what there is.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := $(filter-out libs/contracts/src,$(wildcard libs/*/src services/*/src)) deploy/local/src cli/src
RELEASE := $(shell git describe --tags --abbrev=0 --match 'v*' 2>/dev/null)

export PYTHON

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-long check format protos lock bench stack-up stack-down clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## Install everything into .venv (every other target does this by itself)
	@bash deploy/local/install.sh

demo: install ## Watch a purchase go through the whole house; ONCE=1 exits after it
	@$(BIN)/farthing demo $(if $(filter 1,$(ONCE)),--once)

test: install ## Run the tests, on a local stack of their own; ARGS="..." goes to pytest
	@$(BIN)/pytest -m "not slow" $(ARGS)

test-all: install ## Run the tests, the slow ones too
	@$(BIN)/pytest $(ARGS)

test-long: install ## Run the slow tests alone, behind all other work, a line each; ARGS="..." goes to pytest
	@nice -n 19 $(BIN)/pytest -vv -m slow --durations=0 $(ARGS)

check: install ## Lint, format, types, import rules, contracts
	@echo "ruff check";          $(BIN)/ruff check --quiet .
	@echo "ruff format --check"; $(BIN)/ruff format --check --quiet .
	@echo "mypy --strict";       $(BIN)/mypy --no-error-summary $(SOURCES)
	@echo "import rules";        $(BIN)/lint-imports --no-logo --config tests/architecture/imports.toml
	@echo "buf lint";            $(BIN)/buf lint
ifneq ($(RELEASE),)
	@echo "buf breaking: against the last release, $(RELEASE)"
	@$(BIN)/buf breaking --against '.git#tag=$(RELEASE)'
else
	@echo "buf breaking: there is no release tag v* yet, so against the last commit (HEAD)"
	@$(BIN)/buf breaking --against '.git#ref=HEAD'
endif
	@echo "generated stubs";     bash protos/generate.sh --check

format: install ## Format the code and sort its imports
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

protos: install ## Make the stubs in libs/contracts from the protos
	@bash protos/generate.sh

lock: install ## Resolve the dependencies anew and pin them with their hashes
	@.tools/bin/uv lock
	@.tools/bin/uv export --all-packages --all-groups --no-emit-workspace --no-header \
	  --format requirements-txt -q -o requirements.lock
	@bash deploy/local/install.sh

bench: install ## Measure every speed; ONLY=name for one
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

stack-up: install ## Start PostgreSQL, Kafka, S3, SMTP and the services in .stack
	@$(BIN)/farthing stack up

stack-down: install ## Stop them; their data stays
	@$(BIN)/farthing stack down

clean: ## Stop the stack; remove its data, .venv and caches (.tools, slow to make, stays)
	@[ ! -x $(BIN)/farthing ] || [ ! -d .stack ] || $(BIN)/farthing stack down --remove-data
	@rm -rf .venv .stack .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -path ./.tools -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
