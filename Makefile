# Everything a newcomer types. Each target sets up what it needs on a fresh machine: Python 3.11 or later with venv, make, git.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/lock.txt
UV := uv==0.13.8
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test faults check bench format lock clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## /  make \1\t/p' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## the virtual environment, and nothing else

run: setup  ## the application with worker, beat and Redis on http://localhost:6543, until CTRL+C
	@$(BIN)/python -W "ignore:pkg_resources is deprecated:UserWarning" -m myapp.scripts.initialize_db development.ini
	@exec $(BIN)/ws-run development.ini

# ARGS chooses: make test ARGS="tests/unit -k savepoint". Only the whole suite is held to the coverage.
test: setup  ## the whole suite on real servers; ARGS="tests/unit -k word" for a part
	$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),--cov)

# How much of everything: each line of a web process is its last one, and of all else there is FAULTS times as much.
FAULTS ?= 5
faults: setup  ## kill, freeze and wipe everything while it works, and count what is lost and doubled
	FAULTS=$(FAULTS) $(BIN)/python -m pytest -s $(if $(ARGS),$(ARGS),tests/faults)

check: setup  ## lint, format, types, and the rules of the house
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_house.py

# Several minutes; other work on the machine shows in the spread. ARGS="--help" says what can be chosen.
bench: setup  ## what the ledger costs, in ratios; ARGS="--quick" for less than a minute, ARGS="claiming" for a part
	@$(BIN)/python -m benchmarks $(ARGS)

format: setup  ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# uv, because it alone writes one file for every platform and every Python; hashes of all of them, the name of no index.
lock:  ## choose the newest dependencies that setup.py allows and pin them with hashes
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/pip install --quiet $(UV)
	build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-annotate --no-emit-index-url --no-emit-find-links --extra test --extra check setup.py --output-file $(LOCK)

clean:  ## remove what was set up or left by tools; databases stay
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis

# A changed lock makes the environment anew, so that nothing stays in it that the lock does not name.
$(VENV)/.locked: $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) must be Python 3.11 or later: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	    { echo "$(PYTHON) has no venv: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV), once: about half a minute"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -qq --require-hashes --only-binary :all: -r $(LOCK)
	@touch $@

$(VENV)/.ready: $(VENV)/.locked setup.py
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@
