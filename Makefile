# Every target makes the virtual environment that it needs; python3 with its venv module is all that must be there.

PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
# Nothing is compiled before it is imported (most of it never is), and nothing is built in an environment of its own.
PIP := PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip --quiet install
EDITABLE := --no-warn-conflicts --no-build-isolation --editable

# Where this is set, each of the thousands of programs that the tests start would compile all of its modules anew.
unexport PYTHONDONTWRITEBYTECODE

# One process: workers of their own take longer to begin than these tests do, and the types are checked beside them.
QUICK := $(BIN)/pytest -q -p no:xdist --hypothesis-profile=check -m 'not real and not slow'

# An environment does not survive being moved, nor its interpreter being replaced, nor what builds in it: the stamp
# holds all three.
BUILDER := hatchling~=1.24 editables
HERE := $(CURDIR) $(shell $(PYTHON) -c 'import sys; print(sys.base_prefix, *sys.version_info[:3])' 2>/dev/null) \
  $(BUILDER)
ifneq ($(HERE),$(shell cat $(VENV)/.made 2>/dev/null))
STALE := stale
endif

.PHONY: check test demo benchmark completions deb format clean stale

check: $(VENV)/.dev  ## what a change must pass before it is committed; under a minute
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/mypy >$(VENV)/.types 2>&1 & types=$$!; \
	  $(QUICK); tests=$$?; \
	  wait $$types; types=$$?; cat $(VENV)/.types; \
	  exit $$((tests | types))

test: $(VENV)/.dev  ## all tests
	$(BIN)/pytest -n auto --maxprocesses=8 --dist loadgroup

demo: $(VENV)/.run  ## a swarm at work, from nothing, in about a minute
	@$(BIN)/python contrib/demo/demo.py

benchmark: $(VENV)/.dev  ## the figures that are promised, measured here
	@$(BIN)/python -m tests.benchmark

completions: $(VENV)/.run  ## the files for packagers, made from the table of verbs
	@$(BIN)/swarmctl completion bash > contrib/completions/swarmctl.bash
	@$(BIN)/swarmctl completion zsh > contrib/completions/_swarmctl
	@$(BIN)/swarmctl completion fish > contrib/completions/swarmctl.fish

deb:  ## a Debian package, for the Debian that it is built on
	@contrib/debian/build

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .demo build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made: $(STALE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: $(PYTHON) is missing or older than 3.11; install it, or say where it is: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) cannot make virtual environments; install its module: apt-get install python3-venv" >&2; exit 1; }
	@rm -rf $(VENV)
	$(PYTHON) -m venv --without-pip $(VENV)
	@wheels=$$($(PYTHON) -c '$(WHEELS)') && \
	  $(PYTHON) -m zipfile -e "$$wheels"/pip-*.whl $(VENV)/lib/python3*/site-packages || $(BIN)/python -m ensurepip
	@printf '#!/bin/sh\nexec "$${0%%/*}/python" -m pip "$$@"\n' >$(BIN)/pip && chmod +x $(BIN)/pip
	$(PIP) $(BUILDER)
	@echo $(HERE) > $@

# ensurepip has pip install itself, and compile all of it: five times as long as unpacking it.
WHEELS := import ensurepip, sysconfig; \
  print(sysconfig.get_config_var("WHEEL_PKG_DIR") or ensurepip.__path__[0] + "/_bundled")

$(VENV)/.run: pyproject.toml bin/swarmctl contrib/legacy/coordination_helper.sh $(VENV)/.made
	$(PIP) $(EDITABLE) .
	@touch $@

$(VENV)/.dev: pyproject.toml bin/swarmctl contrib/legacy/coordination_helper.sh $(VENV)/.made
	$(PIP) $(EDITABLE) '.[dev]'
	@touch $@ $(VENV)/.run
