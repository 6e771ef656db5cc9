# Every habit is one command. Each builds .venv itself: nothing but Python >= 3.11 is needed first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: up test check bench bench-submit bench-waiting bench-eta bench-streams chaos durability
.PHONY: docs docs-serve screenshots clean
.DEFAULT_GOAL := up

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Paddock needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 up" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

up: $(VENV)/.installed
	$(BIN)/paddock up

# Four at a time; tests of a group share what is costly to start, and so stay together. They start a
# thousand processes: what these import is compiled once, whatever the environment says of that.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 4 --dist loadgroup $(ARGS)

# Everything that can be killed is, at random, while 500 jobs run.
chaos: $(VENV)/.installed
	PADDOCK_CHAOS_JOBS=500 $(BIN)/python -m pytest -s tests/integration/test_chaos.py $(ARGS)

# Redis is killed ten times while clients submit: what was acknowledged is there.
durability: $(VENV)/.installed
	PADDOCK_ACKNOWLEDGED=10000 PADDOCK_KILLS=10 $(BIN)/python -m pytest -s tests/integration/test_acknowledged.py $(ARGS)

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What Paddock is measured against is installed for this alone.
bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m bench.engine $(ARGS)

# Needs wrk as well (apt-get install wrk).
bench-submit: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m bench.submit $(ARGS)

bench-waiting: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m bench.waiting $(ARGS)

# How far off the estimates of jobs' starts and ends are.
bench-eta: $(VENV)/.installed
	$(BIN)/python -m bench.eta $(ARGS)

bench-streams: $(VENV)/.installed
	$(BIN)/python -m bench.streams $(ARGS)

# The documentation, in build/site. What is amiss is an error: a page or heading that is linked and
# not there, a page that no one would find. Nothing is loaded from another host.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

docs-serve: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

# The pictures of the page, in docs/. They need Chromium (apt-get install chromium).
screenshots: $(VENV)/.installed
	$(BIN)/python -m tests.browser.pictures

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
