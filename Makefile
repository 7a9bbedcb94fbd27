# Everything a person needs: `make help` lists it. The first target that is run makes .venv (tools/bootstrap).
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-remediate test test-long lint bench docs docs-check screens clean
# Without the last, every process that is started compiles all of its libraries anew.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
CODE := $(wildcard agents api bench cli diagnosis domain examples graph indexer inference ingest retrieval review runbooks storage tests tools tracing)

FAULT ?= slow-dependency
TIMES := $(if $(SEED),--seed '$(SEED)') $(if $(WARMUP),--warmup '$(WARMUP)') $(if $(BROKEN),--broken '$(BROKEN)')

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: ## Make .venv with every dependency (other targets do it by themselves)
	@tools/bootstrap

demo: setup ## Break the example shop, ask why, see the answer: FAULT=bad-deploy SEED=2 WARMUP=40 BROKEN=40
	@$(BIN)/causegraph demo --fault '$(FAULT)' $(TIMES)

demo-remediate: setup ## Break the shop, let a workflow be proposed, approve it, see it mended: FAULT=bad-deploy WRONG=1
	@$(BIN)/causegraph demo --remediate --fault '$(FAULT)' $(if $(SEED),--seed '$(SEED)') $(if $(WARMUP),--warmup '$(WARMUP)') $(if $(WRONG),--wrong) $(if $(YES),--yes)

test: setup ## Run the tests, against real private servers: two processes with servers of their own
	@$(BIN)/python -m pytest -n 2 --dist worksteal

test-long: setup ## Run the long tests: kills, fuzzing, soak
	@$(BIN)/python -m pytest -m long

lint: setup ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE) sdk/python/causegraph_sdk
	$(BIN)/lint-imports --no-cache

bench: setup ## Run every fault of the shop on a cold stack and score the answers: SEED=2 WARMUP=40 BROKEN=40
	@$(BIN)/python -m bench.shop $(TIMES)

docs: setup ## Write the generated tables of docs/
	@$(BIN)/python tools/docs.py

screens: setup ## Take the pictures of docs/screens.md, of the example shop in a headless Chromium
	@$(BIN)/python tools/screens.py

docs-check: setup ## Check that the generated tables are fresh
	@$(BIN)/python tools/docs.py --check

clean: ## Remove what make has made: .venv, .tools, caches, dist (never your data)
	rm -rf .venv .tools dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
