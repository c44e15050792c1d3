# The commands of the README. `make demo ARGS="--once --data-dir DIR"` passes options on.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Tests wait more than they work: two processes of them, each with servers and engines of its own, file by file.
PARALLEL ?= -n 2 --dist loadfile --no-loadscope-reorder
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: up demo test test-quick test-deps faults deployment check bench bench-lists clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

up: $(VENV)/.installed
	$(BIN)/cortexql up $(ARGS)

demo: $(VENV)/.installed
	$(BIN)/cortexql demo $(ARGS)

test: $(VENV)/.tested
	$(BIN)/python -m tests.parts
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-quick: $(VENV)/.tested
	$(BIN)/python -m pytest $(PARALLEL) -m "not parts and not slow and not faults and not deployment" $(ARGS)

test-deps: $(VENV)/.tested
	$(BIN)/python -m tests.parts

faults: $(VENV)/.tested
	$(BIN)/python -m tests.parts
	$(BIN)/python -m pytest tests/faults -m faults $(ARGS)

deployment: $(VENV)/.tested
	$(BIN)/python -m tests.parts
	$(BIN)/python -m pytest tests/deployment -m deployment $(ARGS)

check: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/djlint --check --quiet cortexql
	$(BIN)/cortexql schema | diff cortexql/schema/schema.graphql -
	$(BIN)/python -c "from alembic.script import ScriptDirectory; ScriptDirectory('migrations').get_current_head()"
	$(BIN)/python -m tests.graphql.breaking
	$(BIN)/python -m tests.graphql.reference | diff docs/graphql.md -

bench: $(VENV)/.tested
	$(BIN)/python -m bench $(ARGS)

bench-lists: $(VENV)/.tested
	$(BIN)/python -m bench.lists $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
