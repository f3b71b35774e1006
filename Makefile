PYTHON ?= python3
BIN := .venv/bin

.venv/made: Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "backlit needs Python 3.11 or later; give one with: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	touch $@

.venv/user: .venv/made pyproject.toml
	$(BIN)/pip install -q -e '.[table,plot]'
	touch $@

.venv/test: .venv/made pyproject.toml
	$(BIN)/pip install -q -e '.[test]'
	touch $@

.venv/docs: .venv/made pyproject.toml
	$(BIN)/pip install -q -e '.[docs]'
	touch $@

.venv/bench: .venv/made pyproject.toml
	$(BIN)/pip install -q -e '.[bench]'
	touch $@

# every example on the real data, in the folder DATA or $$BACKLIT_DATA; the tables of docs/examples.md and README.md are made of it
DATA ?= $(BACKLIT_DATA)

examples: .venv/user
	$(BIN)/python examples/run_all.py --data "$(DATA)"

demo: .venv/user
	$(BIN)/backlit train digits

test: .venv/test
	$(BIN)/pytest -q -n auto

exhaustive: .venv/test
	$(BIN)/pytest -q -n auto -m slow --timeout 0

# another seed each time, unless given: make fuzz FUZZ_SEED=7
FUZZ_PROGRAMS ?= 10000
FUZZ_SEED ?= $(shell date +%s)

fuzz: .venv/test
	@echo "seed $(FUZZ_SEED), $(FUZZ_PROGRAMS) programs; again with: make fuzz FUZZ_SEED=$(FUZZ_SEED)"
	FUZZ_SEED=$(FUZZ_SEED) FUZZ_PROGRAMS=$(FUZZ_PROGRAMS) $(BIN)/pytest -q -n auto --timeout 0 tests/compiler/test_random_compiled.py

# faults planted in the source of the compiler, the recorder and the layers, and which test notices each
faults: .venv/test
	$(BIN)/python tests/faults/compiler_faults.py
	$(BIN)/python tests/faults/recorder_faults.py
	$(BIN)/python tests/faults/reference_faults.py

# a training run killed 60 times, and 1,500 damaged checkpoints
kill: .venv/test
	$(BIN)/python tests/train/killing.py

# errors and speed of the elementary functions, and the page of the documentation that shows them
functions: .venv/test
	$(BIN)/python benchmarks/functions.py errors
	$(BIN)/python benchmarks/functions.py speed
	$(BIN)/python benchmarks/functions.py page

# every function of the array API standard against array_api_strict, and the page of the documentation that says so
standard: .venv/test
	$(BIN)/python tests/arrays/standard_report.py

check: .venv/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n auto --ignore=tests/cli

# what PyTorch gives for every layer, loss, optimizer and schedule, which the tests compare with
references: .venv/bench
	cd tests/references && ../../$(BIN)/python record.py

docs: .venv/docs
	$(BIN)/mkdocs build --strict --quiet --site-dir .site

bench: .venv/bench
	$(BIN)/python benchmarks/run.py --json benchmarks.json
	$(BIN)/python benchmarks/products.py
	$(BIN)/python benchmarks/passes.py

# the inspector's page, from inspector/ into the package
inspector:
	cd inspector && npm ci --no-audit --no-fund && npm run build

clean:
	rm -rf .venv .site runs inspector/node_modules

.PHONY: demo examples test exhaustive fuzz faults kill functions standard check references docs bench inspector clean
