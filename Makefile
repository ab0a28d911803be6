# `make demo` and `make test` are all a newcomer needs: each sets up what it needs, once, in .venv.
.PHONY: demo test check bench bench-hil fuzz setup clean
.DEFAULT_GOAL := help

BIN := .venv/bin
DEMO_READY := .venv/.ready-demo
ALL_READY := .venv/.ready-all
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:
	@echo "make demo    inspect a line of boards with the shipped model (sets up the runtime, no training tools)"
	@echo "make test    run all tests (sets up everything, the training tools included)"
	@echo "make check   ruff, mypy, import rules"
	@echo "make bench   overhead of the pipeline against the pure predictor"
	@echo "make bench-hil  the daemon in a virtual box with simulated GPIO, camera and serial adapter (root, Debian or Ubuntu)"
	@echo "make fuzz    a million random and damaged inputs for each serial decoder (ARGS='--inputs N --seed S')"
	@echo "make clean   remove .venv and what tests and demos left"

.venv/bin/python: scripts/find-python .python-version
	@python=$$(PYTHON="$(PYTHON)" sh scripts/find-python) && "$$python" -m venv .venv && touch $@

$(DEMO_READY): .venv/bin/python setup.cfg
	$(BIN)/python -m pip install --quiet --editable '.[lite]'
	@touch $@

$(ALL_READY): $(DEMO_READY)
	$(BIN)/python -m pip install --quiet --editable '.[lite,tools,dev]'
	@touch $@

setup: $(ALL_READY)

demo: $(DEMO_READY)
	$(BIN)/edge-runtime demo $(ARGS)

test: $(ALL_READY)
	$(BIN)/python -m pytest $(ARGS)

check: $(ALL_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(ALL_READY)
	$(BIN)/python -m tools bench pipeline $(ARGS)

bench-hil: $(ALL_READY)
	$(BIN)/python -m tools.hil $(ARGS)

fuzz: $(DEMO_READY)
	$(BIN)/python -m tools.fuzz $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache demo-output
