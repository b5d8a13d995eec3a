# `make demo` and `make test` need nothing but Python 3.11 or newer; everything goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test campaigns lint format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.run  ## install, then the main job on generated scenes: check, train, evaluate, predict, report
	$(BIN)/atrous demo --out demo

test: $(VENV)/.dev lint  ## install, then check style, types, floors and all tests
	$(BIN)/python -m pytest -n auto --dist worksteal

campaigns: $(VENV)/.dev  ## kill training 50 times and fill its disk 20 times (half an hour)
	$(BIN)/python -m pytest tests/campaigns --full -n 2 -v

lint: $(VENV)/.dev  ## style, types and import floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.dev  ## put the code into the project's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the targets made
	rm -rf $(VENV) demo

$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --editable '.[fast]'
	touch $@

# pip reads dependency groups from version 25.1 on. torchvision, the reference of the parity tests, comes without its
# dependencies, and so does timm: they would replace the CPU build of torch.
$(VENV)/.dev: $(VENV)/.run
	$(PIP) install 'pip>=25.1'
	$(PIP) install --constraint constraints.txt --group dev
	-$(PIP) install --constraint constraints.txt --no-deps torchvision timm
	touch $@
