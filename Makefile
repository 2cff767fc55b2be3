# make demo   the main job on real images: set-up, training, table       (about 10 minutes, 2 cores)
# make test   set-up, then every check and the default tests             (what CI runs)
# Each makes .venv from constraints.txt; nothing but Python 3.11+, make and pip's registry is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: demo test lint test-fast test-slow test-cuda browser bench clean help

help:
	@sed -n '1,3s/^# //p' Makefile
	@echo "make lint | test-fast | test-slow | test-cuda | bench | clean"

demo: $(VENV)/.train
	$(BIN)/kurabe demo

test: lint test-fast

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright

# One thread a worker: results do not depend on the number of cores, and workers do not fight.
test-fast: $(VENV)/.dev browser
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) --durations=10

# Minutes of training, a kill at random instants, fetching from registries.
test-slow: $(VENV)/.dev browser
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) -m "slow or network" --durations=0

# Every method, solver and encoder on a GPU against the CPU; skipped where torch sees none.
test-cuda: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m cuda tests/cuda

# The pages are tested in a real Chromium: as root on Debian it is fetched; elsewhere, without one,
# those tests are skipped and say so.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	  command -v google-chrome >/dev/null || [ -n "$$KURABE_CHROMIUM" ] || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    apt-get update -qq && apt-get install -y -qq chromium fonts-noto-cjk >/dev/null; } || \
	  echo "no Chromium: install chromium or Google Chrome, or name one in KURABE_CHROMIUM" >&2

# Every claim about speed, as ratios against peers of the same run; wants a machine left alone.
bench: $(VENV)/.dev
	@set -e; for file in bench/*.py; do $(BIN)/python $$file; done

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# $(call install,EXTRAS): into the environment, timed apart from what follows.
define install
	@echo "installing .[$(1)] into $(VENV)"
	@start=$$(date +%s) && \
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(1)]' && \
	echo "installed in $$(( $$(date +%s) - start )) s"
	@touch $@
endef

$(VENV)/.train: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,train)

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,train$(,)optimisers$(,)dev)

, := ,

# Debian leaves ensurepip out of python3; as root it is put back, elsewhere the way is named.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Kurabe needs Python 3.11 or later; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    apt-get update -qq && apt-get install -y -qq python3-venv; } || \
	  { echo "$(PYTHON) cannot make environments; on Debian: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
