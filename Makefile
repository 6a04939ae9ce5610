# Two commands do everything on a fresh machine: `make demo` and `make test`. The others are for developers.
# Needs: Python 3.10 to 3.13 with venv, on x86-64 Linux for the chip simulator.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEVICE ?= cpu
PRECISION ?= fp32
LIMIT ?=
CARDS ?= 2

.DEFAULT_GOAL := help

.PHONY: help
help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What every target stands on: a virtual environment with the project and its tests' needs, made once and whole.
$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "make: Python 3.10 to 3.13 is needed, and $(PYTHON) is $$($(PYTHON) -V 2>&1); set PYTHON=python3.12, say" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "make: the venv module is missing: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing Raysail and what it needs into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]' 2>$(VENV)/pip.log || { cat $(VENV)/pip.log >&2; exit 1; }
	@touch $@

.PHONY: simulator
simulator: $(VENV)/installed  ## the chip simulator's libraries (fetched once a machine)
	@$(BIN)/python -m bmodel.libraries

.PHONY: toolchain
toolchain: $(VENV)/installed  ## the vendor's compiler, in an environment of its own
	@$(BIN)/raysail toolchain install

.PHONY: demo
demo: $(VENV)/installed  ## the job on the sample set (DEVICE=simulator: the BModel)
	@if [ "$(DEVICE)" = simulator ]; then $(BIN)/python -m bmodel.libraries; fi
	@$(BIN)/python -m jobs.demo --device $(DEVICE) --precision $(PRECISION) --cards $(CARDS) $(if $(LIMIT),--limit $(LIMIT))

.PHONY: lint
lint: $(VENV)/installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/mypy

.PHONY: unit
unit: $(VENV)/installed
	@$(BIN)/pytest -q tests/unit tests/property

.PHONY: fuzz
fuzz: $(VENV)/installed  ## the properties on fresh random examples (RAYSAIL_FUZZ_EXAMPLES=2000 each)
	@RAYSAIL_EXAMPLES=fuzz $(BIN)/pytest -q tests/property

.PHONY: check
check: lint unit  ## the quick tier: lint, types, unit tests

.PHONY: test
test: check simulator  ## everything but what needs hours or PyTorch
	@$(BIN)/pytest -q tests/device  # alone: an open simulator keeps the cores of its process busy
	@RAYSAIL_SOAK_S=$${RAYSAIL_SOAK_S:-20} $(BIN)/pytest -q tests/card  # alone: a card's libraries have the simulator's names
	@$(BIN)/pytest -q -m 'not chaos' tests/browser tests/ray

.PHONY: test-card
test-card: $(VENV)/installed  ## a BM1684 of this host (ten minutes, five of them one soak)
	@$(BIN)/python -m bmodel.libraries || echo "make: so the card's results are compared with nothing" >&2
	@$(BIN)/pytest -s tests/card

.PHONY: chaos
chaos: $(VENV)/installed  ## twenty seeded storms of kills over whole clusters
	@$(BIN)/pytest -q tests/ray/test_chaos.py

.PHONY: test-models
test-models: $(VENV)/models-installed  ## the YOLOv7 family, the import of weights (needs PyTorch)
	@$(BIN)/pytest -q -m models tests

.PHONY: test-wheel
test-wheel: $(VENV)/installed  ## the built wheel alone, on each Python there is
	@$(BIN)/pytest -q tests/wheel

# What the benchmarks' peers need lies in a folder of its own: the project is measured as its users have it.
PEERS := build/bench/peers
$(PEERS)/installed: tests/bench/peers.txt $(VENV)/installed
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --upgrade --target $(PEERS) -r $< 2>$(VENV)/pip.log || \
	  { cat $(VENV)/pip.log >&2; exit 1; }
	@touch $@

.PHONY: bench
bench: $(PEERS)/installed  ## the benchmarks (PART="host cards": these alone; RESUME=1)
	@$(BIN)/python -m tests.bench $(PART) $(if $(RESUME),--resume)

# A bare `torch` would be a CUDA build of several GB on x86-64: the version names the CPU build, and an index that
# has none makes this fail at once instead. TORCH=torch takes whatever your index gives.
TORCH ?= torch==2.13.0+cpu
$(VENV)/models-installed: $(VENV)/installed
	@echo "Installing PyTorch ($(TORCH)) and onnx ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check '$(TORCH)' onnx 2>$(VENV)/pip.log || \
	  { cat $(VENV)/pip.log >&2; echo "make: no CPU build of PyTorch; see docs/models.md, or set TORCH=torch" >&2; exit 1; }
	@touch $@

.PHONY: latency-table
latency-table: $(VENV)/models-installed  ## the YOLOv7 family's predicted times (hours; goes on)
	@$(BIN)/python -m jobs.build.latency_table.make_latency_table

.PHONY: clean
clean:  ## remove the environment and caches; results stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
