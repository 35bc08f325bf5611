# make run | test | coverage | check | gpu-check | clean
#
# Everything runs in a private environment, made once and again when pyproject.toml changes. `VENV=` (empty) uses
# PYTHON as it is, for a machine that has all the packages and no network: make gpu-check VENV=
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
OUT ?= gpu-check

ifeq ($(strip $(VENV)),)
py := $(PYTHON)
ready :=
else
py := $(VENV)/bin/python
ready := $(VENV)/.installed
endif
autotune := $(py) -m autotune

.PHONY: help install run test coverage check gpu-check clean

help:
	@echo 'make run [ARGS="--device cpu --budget 2m"]   measure frcnn_mobilenet and recommend a training config'
	@echo 'make test                                    the tests'
	@echo 'make coverage                                the tests with coverage, at least 90% of lines'
	@echo 'make check                                   ruff and mypy'
	@echo 'make gpu-check [OUT=gpu-check] [ARGS=...]    the GPU tests, one run and all profiles on the GPU'
	@echo 'make clean                                   remove the environment and what the tools left'

install: $(ready)

$(VENV)/.installed: pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable '.[test,dev]'
	touch $@

# Each run gets a directory of its own: autotune-runs/frcnn_mobilenet, -2, -3, ...
run: $(ready)
	$(autotune) run --model frcnn_mobilenet $(ARGS)

# No test is decided by time, so that two may run beside each other; but threads of OpenMP that wait for each other by
# spinning slow a busy machine down many times.
pytest := OMP_NUM_THREADS=1 $(py) -m pytest -n 2

test: $(ready)
	$(pytest) $(ARGS)

# Tracing slows every process that the tests start: apart from the tests that everybody runs.
coverage: $(ready)
	$(pytest) --cov --cov-report=term $(ARGS)

check: $(ready)
	$(py) -m ruff check .
	$(py) -m ruff format --check .
	$(py) -m mypy

gpu-check: $(ready)
	$(py) -m pytest -m gpu
	$(autotune) run --model frcnn_mobilenet --device cuda --out "$(OUT)" $(ARGS)
	$(py) -m benchmarks.ceilings cuda
	$(py) -m benchmarks.attribution cuda "$(OUT)/profiles"

clean:
	test -z "$(strip $(VENV))" || rm -rf $(VENV)
	rm -rf build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache htmlcov
	find autotune tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
