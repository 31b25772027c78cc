# voxtral_nb: `make quickstart` fine-tunes the tiny Voxtral; `make test` is all that CI runs; `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DESCRIBED := setup.py settings.ini pyproject.toml constraints.txt
QUICKSTART_DIR ?= runs/quickstart
TEST_PROCESSES ?= 6

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

# The stamps are what make compares: a second `make` installs nothing unless what describes the package has changed.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "voxtral_nb needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(DESCRIBED) | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

install: $(VENV)/.installed  ## make .venv and install the package in it, editable, with the pinned versions

dev: $(VENV)/.dev  ## also install what development needs, and nbdev's git hooks
	@if [ -d .git ]; then $(BIN)/nbdev-install-hooks --diff False; fi

quickstart: $(VENV)/.installed  ## fine-tune the tiny Voxtral on an accent it gets wrong: WER before and after, in minutes
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/quickstart.py --output-dir "$(QUICKSTART_DIR)"

test-packages: $(VENV)/.dev
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash tools/test_packages.sh

# One thread a process. Six processes on two cores: the browser tests mostly wait for a clock. A test that fails is run once more; one that passes only then is named at the end. The last line is JSON.
test: $(VENV)/.dev test-packages  ## run every notebook's tests, then the end-to-end tests
	@PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -n $(TEST_PROCESSES) --dist worksteal --reruns 1 --durations=15 --tb=short --show-capture=stdout $(PYTEST_ARGS)

# BENCH_ARGS go to both parts (--smoke, --out FOLDER), BENCH_TRAIN_ARGS and BENCH_QUALITY_ARGS to one; see the files. Wants a quiet machine.
bench: $(VENV)/.dev  ## training against the published recipe: speed, memory, time to the same WER (about 90 minutes on two cores)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/train.py $(BENCH_ARGS) $(BENCH_TRAIN_ARGS)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/quality.py $(BENCH_ARGS) $(BENCH_QUALITY_ARGS)

lint: $(VENV)/.dev  ## check the coding style of notebooks and Python files, and show the shape of the code
	@$(BIN)/ruff check .
	@$(BIN)/python tools/shape.py

export: $(VENV)/.dev  ## notebooks -> voxtral_nb/*.py, and clean the notebooks
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean

readme: $(VENV)/.dev  ## nbs/index.ipynb -> README.md
	@$(BIN)/python tools/docs.py readme

show-runs: $(VENV)/.dev  ## execute the run notebooks and keep their outputs, for readers
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/show_runs.py && $(BIN)/nbdev-clean

docs: $(VENV)/.dev  ## build the site in _docs, with Quarto if it is installed, otherwise with smalldocs
	@$(BIN)/python tools/docs.py site

# No editable install, no file or host, and no local build tag: a plain list of versions that any index can serve.
constraints:  ## pin what is in .venv as constraints.txt
	@{ echo "# The versions that the tests ran on. Made by make constraints."; \
	  $(BIN)/python -m pip freeze --all --exclude pip --exclude wheel --exclude voxtral_nb | grep -E '^[A-Za-z0-9._-]+==' | sed -E 's/\+cpu$$//'; } > constraints.new
	@mv constraints.new constraints.txt

dist: $(VENV)/.dev  ## build the wheel and the source distribution in dist/
	$(BIN)/python -m build

clean:  ## remove what was built (not .venv, not runs/)
	rm -rf build dist _docs _proc *.egg-info .pytest_cache

.PHONY: help install dev quickstart test-packages test bench export lint readme show-runs docs constraints dist clean
