# AGKD-BML Lab: everything that is done with it from a terminal. `make` alone lists it.

VENV ?= .venv
BIN := $(VENV)/bin
UV ?= uv

.DEFAULT_GOAL := help
.PHONY: help run models showcase bundle pictures test test-fast fuzz soak audit mutants lint format lock \
	install install-dev install-checks

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "make VENV=path <target> uses another environment than .venv"

run: install ## Install what is missing, and start the lab on http://127.0.0.1:8000
	@exec $(BIN)/python -m app

# Give it again after an interruption: what is done stays done.
models: install ## Train and measure the models in the box again: make models DATA=cifar10-jpeg.tar.xz
	@test -n "$(DATA)" || { echo "Say where the images are: make models DATA=archive" >&2; exit 2; }
	LAB_DATA_DIR=$(TRAINING) LAB_SHIPPED_DIR=models \
		$(BIN)/python -m worker.shipping repeat "$(DATA)"

showcase: install ## Choose again what the first page shows: make showcase DATA=cifar10-jpeg.tar.xz
	@test -n "$(DATA)" || { echo "Say where the images are: make showcase DATA=archive" >&2; exit 2; }
	LAB_DATA_DIR=$(TRAINING) LAB_SHIPPED_DIR=models \
		$(BIN)/python -m worker.shipping showcase "$(DATA)"

TRAINING ?= build/models

bundle: install ## Collect what a GPU machine without network needs: make bundle DATA=cifar10-jpeg.tar.xz
	@test -n "$(DATA)" || { echo "Say where the images are: make bundle DATA=archive" >&2; exit 2; }
	$(BIN)/python -m bench.bundle "$(DATA)"

pictures: install-dev ## Take the pictures of the README and the tour again: make pictures DATA=archive
	@$(BIN)/python -m docs.screenshots $(if $(DATA),"$(DATA)")

# Hundreds of processes import the lab: where the environment has Python write no bytecode, each would
# compile all of it.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 3
# Folders whose tests train, or start processes and browsers.
HEAVY := client e2e jobs run shipping

test: install-dev ## Run every test
	$(PYTEST) --dist loadfile --no-loadscope-reorder

test-fast: install-dev ## Run what takes no training and no process: the loop while editing
	$(PYTEST) -m "not slow" $(HEAVY:%=--ignore=tests/%)

fuzz: install-checks ## Ask the API and feed its parsers whatever there is; some hours
	$(BIN)/python -m bench.fuzz.api
	$(BIN)/python -m bench.fuzz

soak: install ## Kill a lab's processes while it works, and see that nothing is lost; two hours
	$(BIN)/python -m bench.soak
	$(BIN)/python -m bench.deaths
	$(BIN)/python -m bench.faults
	$(BIN)/python -m bench.one_writer
	$(BIN)/python -m bench.saves

audit: install-checks ## Ask for known vulnerabilities of the packages, and list their licences
	$(BIN)/python -m bench.supply

mutants: install-dev ## Change the core line by line, and see that a test fails each time
	OMP_NUM_THREADS=1 $(BIN)/python -m mutmut run --max-children 2

lint: install-dev ## Check style and types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: install-dev ## Rewrite the code in the house style
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

lock: ## Pin the dependencies of pyproject.toml anew (needs uv)
	$(COMPILE) -o requirements/web.txt
	$(COMPILE) --extra worker -c requirements/web.txt -o requirements/lab.txt
	$(COMPILE) --extra worker --group dev -c requirements/lab.txt -o requirements/dev.txt
	$(COMPILE) --extra worker --group dev --group checks -c requirements/dev.txt \
		-o requirements/checks.txt

COMPILE := $(UV) pip compile pyproject.toml --quiet --universal --generate-hashes --no-header \
	--python-version 3.11 --extra postgresql --extra storage

install: $(BIN)/pip
	@$(call install-lock,lab)

# What the tests need contains what the lab needs, in the same versions.
install-dev: $(BIN)/pip
	@$(call install-lock,dev)
	@cp requirements/lab.txt $(VENV)/installed-lab.txt

# And this what the tests need.
install-checks: $(BIN)/pip
	@$(call install-lock,checks)
	@cp requirements/lab.txt $(VENV)/installed-lab.txt
	@cp requirements/dev.txt $(VENV)/installed-dev.txt

# The lock is complete, so pip need not resolve anything.
# A copy of the lock is kept in the environment: as long as they agree, there is nothing to do.
define install-lock
cmp -s requirements/$(1).txt $(VENV)/installed-$(1).txt || { \
	echo "Installing requirements/$(1).txt into $(VENV); this takes some minutes."; \
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
		--no-deps --require-hashes -r requirements/$(1).txt \
	&& cp requirements/$(1).txt $(VENV)/installed-$(1).txt; }
endef

# pip is the last thing that a new environment gets, so its presence means a complete one.
$(BIN)/pip:
	@for python in python3.11 python3.12 python3.13 python3; do \
		if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
			2>/dev/null; then \
			echo "Creating $(VENV) with $$python"; exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo "AGKD-BML Lab needs Python 3.11, 3.12 or 3.13, and none is on the PATH." >&2; exit 1
