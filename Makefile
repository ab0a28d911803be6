# `make demo` and `make test` are all a newcomer needs: each sets up what it needs, once, in .venv.
.PHONY: demo test check bench bench-all bench-peers rknn-tools bench-hil fuzz setup clean
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
	@echo "make bench-all  all benchmarks of this runtime, into docs/performance.md (a quarter of an hour, on a quiet machine)"
	@echo "make bench-peers  the same frames through PaddleSeg, MONAI, SAHI, ONNX Runtime and OpenVINO (6 GB of packages)"
	@echo "make rknn-tools  what converts for RK3588's NPU, in .venv-rknn (5 GB, under Rockchip's own terms)"
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

# A quiet machine is needed; docs/performance.md holds what came out.
RESULTS := docs/benchmarks
WITH_TORCH = $(if $(wildcard .venv-peers/.ready),--torch-python .venv-peers/bin/python)
define measure
	$(BIN)/python -m tools bench $(1) --json $(RESULTS)/$(1).json $(2)
endef

bench-all: $(ALL_READY)
	$(call measure,pipeline)
	$(call measure,scaling)
	$(call measure,start,--other opt_models/pcb-unet/4)
	$(call measure,memory)
	$(call measure,limit,--backend paddle_lite --backend onnxruntime --backend openvino $(WITH_TORCH))
	$(call measure,line)
	$(call measure,modbus)
	$(BIN)/python -m tools bench report

# What it is compared with has an environment of its own: nothing of it is needed for anything else.
PEERS_READY := .venv-peers/.ready

$(PEERS_READY): tools/benchmarks/peers-requirements.txt scripts/find-python .python-version
	@python=$$(PYTHON="$(PYTHON)" sh scripts/find-python) && "$$python" -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement tools/benchmarks/peers-requirements.txt
	.venv-peers/bin/python -m pip install --quiet --no-deps paddleseg==2.8.0
	@touch $@

WITH_ACCURACY = $(if $(wildcard $(RESULTS)/accuracy.json),--accuracy $(RESULTS)/accuracy.json)

bench-peers: $(ALL_READY) $(PEERS_READY)
	$(BIN)/python -m tools bench peers $(FRAMES) --json $(RESULTS)/peers.json $(WITH_ACCURACY) $(ARGS)
	$(BIN)/python -m tools bench report

# Rockchip's converter wants versions of its own, and its licence is its own: see docs/rknn.md.
RKNN_READY := .venv-rknn/.ready

$(RKNN_READY): tools/rknn/requirements.txt scripts/find-python .python-version
	@python=$$(PYTHON="$(PYTHON)" sh scripts/find-python) && "$$python" -m venv .venv-rknn
	.venv-rknn/bin/python -m pip install --quiet --requirement tools/rknn/requirements.txt
	.venv-rknn/bin/python -m pip install --quiet --no-deps rknn-toolkit2==2.5.0
	@touch $@

rknn-tools: $(RKNN_READY)

bench-hil: $(ALL_READY)
	$(BIN)/python -m tools.hil $(ARGS)

fuzz: $(DEMO_READY)
	$(BIN)/python -m tools.fuzz $(ARGS)

clean:
	rm -rf .venv .venv-peers .venv-rknn build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache demo-output
