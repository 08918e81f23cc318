# `make help` lists the targets. Those that need an installed checkout run `setup` first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv/bin
# Quotes any value as a single shell word.
quoted = '$(subst ','\'',$(1))'
lower = $(shell printf %s '$(1)' | tr A-Z a-z)

.PHONY: help
help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup setup-run
setup: ## Install everything that demo, test and check need (they run it themselves)
	@deployments/setup.sh test
setup-run:
	@deployments/setup.sh run

.PHONY: demo
demo: setup-run ## Transcode a clip and serve it with a player; SOURCE=file-or-URL, DURATION=seconds to run
	@$(VENV)/streamwave demo $(if $(SOURCE),--source $(call quoted,$(SOURCE))) $(if $(DURATION),--duration $(call quoted,$(DURATION)))

.PHONY: test
test: setup ## Run all tests; ARGS="tests/unit -k name" selects some
	@$(VENV)/python -m pytest $(ARGS)

.PHONY: fuzz audit
fuzz: setup ## Fuzz all parsers and services; MINUTES=10, or INPUTS=1000 for each; SUITE=parsers TARGET=name SEED=1
	@$(VENV)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[fuzz]' </dev/null
	@$(VENV)/python -m tests.fuzz $(foreach name,MINUTES INPUTS SEED SUITE TARGET,$(if $($(name)),--$(call lower,$(name)) $(call quoted,$($(name)))))
audit: setup ## Check the pinned packages for known vulnerabilities; ARGS=--strict fails if the data is unavailable
	@deployments/audit.sh $(ARGS)

.PHONY: matrix
matrix: setup ## Transcode sources of every kind and check the results; ARGS="interlace" selects some
	@$(VENV)/python -m tests.matrix $(ARGS)

.PHONY: check
check: setup ## Check lint, format, types, import directions and generated files
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports --no-cache --no-logo
	deployments/proto.sh --check
	$(VENV)/python -m pytest -q -n 0 tests/unit/test_architecture.py

.PHONY: rooms
rooms: setup ## List the packages, their floors and import cycles (docs/architecture.md)
	@$(VENV)/python -m tests.rooms

.PHONY: format
format: setup ## Fix lint and format
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

.PHONY: soak
soak: setup ## Run the storage tests at full length: outages of a minute, 1,000 publishes to S3
	@TESTS_FULL=1 $(VENV)/python -m pytest tests/storage --timeout 1800 $(ARGS)

.PHONY: bench
bench: setup ## Run all benchmarks; ARGS selects some, such as vod_cpu or cluster_live (an unknown name lists all)
	@$(VENV)/python -m benchmarks $(ARGS)

.PHONY: proto docs
proto: setup ## Generate streamwave/v1 from proto/
	deployments/proto.sh
docs: setup ## Write the generated pages: docs/settings.md, .env.example, docs/api.md, docs/cli-json.md, docs/architecture.md
	$(VENV)/python -m streamwave.config.docs
	$(VENV)/python -m streamwave.cli.docs
	$(VENV)/python -m tests.api_page
	$(VENV)/python -m tests.rooms --write

.PHONY: golden
golden: setup ## Replace the manifests in tests/golden by what comes out now; read the difference before it is committed
	@$(VENV)/python -m pytest -q -n 0 tests/unit/manifest/test_golden.py --write-golden

.PHONY: docs-site
docs-site: setup ## Build the documentation as a site into site/
	@NO_MKDOCS_2_WARNING=true $(VENV)/mkdocs build --quiet --strict

.PHONY: constraints
constraints: setup ## Pin the newest versions that fit pyproject.toml
	$(VENV)/uv pip compile --upgrade --universal --python-version 3.11 --all-extras --no-emit-index-url --no-header -q pyproject.toml -o constraints.txt

.PHONY: clean
clean: ## Remove what setup and runs have created, except recordings in out/ and state in var/
	rm -rf .venv node_modules build site *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache .cache var/setup*
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
