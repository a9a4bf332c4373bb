# Everything runs in .venv, which the first target that needs it makes.
#   make demo          a synthetic head in demo-output/
#   make test          lint, types and tests
#   make demo-model    train the demo model from nothing (hours), and measure it
#   make demo-figures  measure the demo model that ships (half an hour)

PYTHON ?= python3
BIN := .venv/bin
# constraints.txt pins torch too, so that no extra can bring another build of it.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test demo-model demo-figures clean

demo: .venv/.installed
	$(BIN)/brainldm generate --sex F --age 65 --ventricular-volume-ml 30 --brain-volume-ml 1450 \
	    --seed 7 --preview --overwrite --out demo-output

test: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

demo-model: .venv/.installed-train
	$(BIN)/python -m brainldm.train.demo --out build/demo-model
	$(BIN)/python -m brainldm.evaluate.demo --model build/demo-model/model --out build/demo-figures

demo-figures: .venv/.installed-train
	$(BIN)/python -m brainldm.evaluate.demo --out build/demo-figures

clean:
	rm -rf .venv build dist demo-output

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "brainldm needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# Stamps: an install runs again only when what it installs from has changed.
.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP_INSTALL) --editable .
	@touch $@

.venv/.installed-%: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP_INSTALL) --editable '.[$*]'
	@touch $@
