# `make` tells what there is to make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
SCHEDULER ?=
TESTS ?=
MOMENTS ?= 100
SECONDS ?= 600
SIDES ?= -n 2 --dist loadfile --no-loadscope-reorder
VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
NATIVE := $(shell find udocker/native -name '*.[ch]')
# What a build requires, as pyproject.toml says; kept in the environment, so that native code is rebuilt quickly.
BUILD_REQUIRES := $(shell sed -n 's/^requires = \[\(.*\)\]$$/\1/p' pyproject.toml | tr -d ,)
# Root installs for others to read.
UMASK := if [ "$$(id -u)" = 0 ]; then umask 022; fi

.PHONY: help venv demo test test-faults test-disks test-programs test-array test-stress test-kernels fuzz services lint bench clean

help:
	@echo "make demo [SCHEDULER=slurm]   run an image as a batch job, here or on Slurm"
	@echo "make test [TESTS=tests/unit]  run the tests; sudo make test runs all of them, with real services (Debian)"
	@echo "make test-faults              kill each command at 200 moments (40 minutes)"
	@echo "make test-disks [MOMENTS=100] every command over a disk that fails at so many moments (hours)"
	@echo "make test-programs            compare programs' own tests in each mode with chroot's: CPython, LTP, packages (an hour)"
	@echo "make test-array               an array of 1,000 tasks from cold on a real Slurm (5 minutes)"
	@echo "make test-stress              the trap engine: 1,000 runs of all at once, 2,000 processes (15 minutes)"
	@echo "make test-kernels             the engines on Debian's kernels 5.10, 6.1 and 6.12, emulated by qemu (two hours)"
	@echo "make fuzz [SECONDS=600]       look for input that parsers, unpacking and the translation of paths do not stand"
	@echo "make lint                     check style and types"
	@echo "make bench                    measure"
	@echo "make venv [PYTHON=python3]    make the Python environment $(VENV), which the others do as needed"
	@echo "make clean                    remove what was made"

venv: $(READY)

demo: $(READY)
	$(BIN)/python demo/run.py $(if $(SCHEDULER),--scheduler $(SCHEDULER))


# All of them take two processes side by side, for real tests mostly wait.
test: $(READY) services
	$(UMASK); $(BIN)/python -m pytest $(or $(TESTS),$(SIDES))

# `make test` does the same at a few moments.
test-faults: $(READY) services
	$(UMASK); UDOCKER_FAULT_MOMENTS=200 $(BIN)/python -m pytest --timeout=0 tests/faults

# `make test` lets each command meet each fault once.
test-disks: $(READY) services
	$(UMASK); UDOCKER_TEST_MOMENTS=$(MOMENTS) $(BIN)/python -m pytest --timeout=0 tests/real/test_bad_disks.py

# `make test` runs a small part. UDOCKER_TEST_LTP names a checkout of LTP where GitHub cannot be reached.
test-programs: $(READY) services
	@echo "the report goes to .programs/report.txt"
	$(UMASK); UDOCKER_TEST_PROGRAMS=$(CURDIR)/.programs/report.txt \
	    $(BIN)/python -m pytest $(or $(TESTS),tests/programs)

# `make test` has 40 tasks.
test-array: $(READY) services
	$(UMASK); UDOCKER_TEST_TASKS=1000 $(BIN)/python -m pytest --timeout=0 tests/real/test_main_job.py -k from_cold

# `make test` does the same a few times.
test-stress: $(READY)
	$(UMASK); UDOCKER_STRESS=full nice -n 19 $(BIN)/python -m pytest --timeout=0 tests/stress

# `make test` runs the same on the machine's own kernel.
test-kernels: $(READY) services
	@echo "what each machine said goes to .kernels"
	$(UMASK); UDOCKER_TEST_KERNELS=1 $(BIN)/python -m pytest tests/kernels

# Needs Python 3.11, as Debian 12 has it, for atheris, and clang for what is in C.
fuzz: $(READY)
	$(UMASK); $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation \
	    --editable '.[fuzz]'
	$(UMASK); nice -n 19 $(BIN)/python -m tests.fuzz.run .fuzz $(SECONDS)

# Root on Debian gets every service; anybody else runs the tests that need none of them, or what is there already.
services:
	@if [ "$$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then tests/services/install; fi

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	@failed=; for program in $(basename $(notdir $(wildcard bench/bench_*.py))); do \
	    echo "== $$program"; PYTHONPATH=. $(BIN)/python -m "bench.$$program" || failed+=" $$program"; done; \
	[ -z "$$failed" ] || { echo "make: not measured:$$failed" >&2; exit 1; }

# One recipe for the environment and for the native programs in it: an editable install rebuilds both.
$(READY): setup.py pyproject.toml $(NATIVE) | $(BIN)/python
	$(UMASK); $(BIN)/python -m pip install --quiet --disable-pip-version-check $(BUILD_REQUIRES)
	$(UMASK); $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation \
	    --editable '.[test,lint]'
	@touch $@

NO_PYTHON := make: $(PYTHON) is not Python 3.9 or later: name one with PYTHON=
NO_VENV := make: $(PYTHON) cannot make environments: apt-get install python3-venv

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9))' || { echo "$(NO_PYTHON)" >&2; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	    [ "$$(id -u)" = 0 ] && [ -e /etc/debian_version ] && [ $(PYTHON) = /usr/bin/python3 ] || \
	        { echo "$(NO_VENV)" >&2; exit 1; }; \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3-venv; \
	fi
	$(UMASK); $(PYTHON) -m venv $(VENV)

# What the tests cached goes as well; a cluster that still runs is stopped first.
clean:
	@if [ "$$(id -u)" = 0 ]; then tests/services/slurm/stop; fi
	rm -rf $(VENV) build *.egg-info udocker/native/bin .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz .programs .kernels
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -rf /var/tmp/udocker-test-$$(id -u)
