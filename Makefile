# make audit: from a fresh clone to a report.   make test: what .ci/run checks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: audit test slow lint types floors browser clean

audit: $(VENV)/.installed
	$(BIN)/auditkit audit --out runs

# Two test processes with a thread each are quicker on two cores than two that fight over them.
test slow: export OMP_NUM_THREADS = 1

test: $(VENV)/.tested browser lint types floors
	$(BIN)/python -m pytest -n 2 -m "not slow"

slow: $(VENV)/.tested browser
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.tested
	$(BIN)/ruff check .

types: $(VENV)/.tested
	$(BIN)/mypy

floors: $(VENV)/.tested
	$(BIN)/lint-imports

# The browser tests drive Debian's chromium; without it they are skipped, and say so.
browser:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null \
	    || command -v google-chrome >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing chromium for the browser tests"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } \
	    || echo "chromium could not be installed: the browser tests will be skipped"; \
	else \
	  echo "No chromium here, and this user may not install it: the browser tests will be skipped"; \
	fi

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("auditkit needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing auditkit and what it needs into $(VENV) (some minutes the first time)"
	$(PIP) --editable .
	@touch $@

$(VENV)/.tested: pyproject.toml | $(VENV)/bin/python
	@echo "Installing auditkit and what its tests need into $(VENV) (some minutes the first time)"
	$(PIP) --editable '.[test,corpus]'
	@touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
