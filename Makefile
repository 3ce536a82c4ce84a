# make repro: the whole pipeline. make demo: the page to try it on. make test: the tests. Each
# installs what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV_VERSION := 0.13.9
TORCH := $(shell sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements.lock)
# Folders of wheels that pip is configured to look into, if any.
FIND_LINKS := $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
LINKS := $(foreach place,$(FIND_LINKS),--find-links $(place))
HAS_GPU := $(shell nvidia-smi -L >/dev/null 2>&1 && echo yes)

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)/src
# Every stage is a process of its own: without bytecode each would compile its libraries again.
export UV_COMPILE_BYTECODE := 1

.PHONY: install repro demo docs test lint lock clean

install: $(STAMP)

# The lock pins the CPU build of torch; only a machine with a GPU gets a CUDA build.
$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
ifeq ($(HAS_GPU),yes)
	grep -v '^torch==' requirements.lock > $(VENV)/without-torch.lock
	$(BIN)/uv pip install --quiet $(TORCH) --torch-backend auto
	$(BIN)/uv pip install --quiet --requirements $(VENV)/without-torch.lock
else
	$(BIN)/uv pip sync --quiet $(LINKS) requirements.lock \
	  || $(BIN)/uv pip sync --quiet --torch-backend cpu requirements.lock
endif
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q src
	touch $(STAMP)

repro: $(STAMP)
	dvc repro
	manifold-ocr summary

# The leaderboard alone, from the committed metrics: no data is fetched, no other stage runs.
leaderboard: $(STAMP)
	dvc repro --force --single-item --allow-missing leaderboard

demo: $(STAMP)
	manifold-ocr demo

# The documentation site; open output/site/index.html. Fails on a warning, such as a broken link.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 PYTHONWARNINGS=ignore::DeprecationWarning mkdocs build --strict

test: $(STAMP)
	python -m pytest -n 2 --dist loadgroup

lint: $(STAMP)
	ruff check src tests benchmarks
	ruff format --check src tests benchmarks
	mypy

# Rewrites requirements.lock from pyproject.toml (needs the network).
lock:
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra pages --extra heic --extra metrics \
	  --extra ocrmypdf --extra ray --extra remotes --extra serve --extra docs \
	  --python-version 3.11 --no-header --no-annotate --upgrade \
	  $(or $(LINKS),--torch-backend cpu) --output-file requirements.lock

clean:
	rm -rf $(VENV) output/cache
