# `make help` lists the targets. `demo` and `test` set up everything that they need by themselves.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv/bin
# A value as one word of the shell, whatever is in it.
quoted = '$(subst ','\'',$(1))'
lower = $(shell printf %s '$(1)' | tr A-Z a-z)

.PHONY: help
help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup setup-run
setup: ## Everything that demo, test and check need (they call it themselves)
	@deployments/setup.sh test
setup-run:
	@deployments/setup.sh run

.PHONY: demo
demo: setup-run ## Transcode a clip and serve it with a player; SOURCE=file-or-URL, DURATION=seconds until it ends
	@$(VENV)/streamwave demo $(if $(SOURCE),--source $(call quoted,$(SOURCE))) $(if $(DURATION),--duration $(call quoted,$(DURATION)))

.PHONY: test
test: setup ## All tests; ARGS="tests/unit -k name" chooses
	@$(VENV)/python -m pytest $(ARGS)

.PHONY: fuzz audit
fuzz: setup ## Damaged inputs for everything that takes any; MINUTES=10, or INPUTS=1000 of each; SUITE=parsers TARGET=name SEED=1
	@$(VENV)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[fuzz]' </dev/null
	@$(VENV)/python -m tests.fuzz $(foreach name,MINUTES INPUTS SEED SUITE TARGET,$(if $($(name)),--$(call lower,$(name)) $(call quoted,$($(name)))))
audit: setup ## Known vulnerabilities of what is pinned; ARGS=--strict fails where nobody can be asked
	@deployments/audit.sh $(ARGS)

.PHONY: matrix
matrix: setup ## Sources of every kind, and what came out for each; ARGS="interlace" chooses
	@$(VENV)/python -m tests.matrix $(ARGS)

.PHONY: check
check: setup ## Lint, format, types, import directions, generated files in step
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports --no-cache --no-logo
	deployments/proto.sh --check
	$(VENV)/python -m pytest -q -n 0 tests/unit/test_architecture.py

.PHONY: rooms
rooms: setup ## Packages, the floors on which their imports put them, and circles
	@$(VENV)/python -m tests.rooms

.PHONY: format
format: setup ## Put the code into the form that check asks for
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

.PHONY: soak
soak: setup ## The tests of storage at full length: outages of a minute, 1,000 publishes to S3
	@TESTS_FULL=1 $(VENV)/python -m pytest tests/storage --timeout 1800 $(ARGS)

.PHONY: bench
bench: setup ## Benchmarks, or those in ARGS: vod_cpu (against one plain FFmpeg), publishing (to a store that is far), spool (in one), rtmp_gate
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
clean: ## Remove what setup and runs have made, except recordings in out/ and state in var/
	rm -rf .venv node_modules build site *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache .cache var/setup*
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
