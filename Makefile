# Two commands matter: `make demo` and `make test`. Each sets up what it needs on a bare machine, once.
PYTHON ?= $(shell ./tools/find_python.sh)
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
