# Everything runs in .venv, which the first target that needs it makes.
#   make demo          a synthetic head in demo-output/
#   make serve         a page to make heads in and look at them
#   make test          lint, types, documentation, and every test but the slow ones
#   make test-quick    lint, types, and the tests of single rooms: two minutes
#   make test-slow     the tests that take minutes each
#   make fuzz          every reader on damaged files, ten minutes (MINUTES=10)
#   make coverage      what the tests of `make test` run through; pages in build/coverage/
#   make docs          the site, in build/site/
#   make packages      wheel and sdist in dist/, each tried in an empty environment
#   make demo-model    train the demo model from nothing (20 minutes of a large GPU), and measure it
#   make demo-figures  measure the demo model that ships, on anatomies that it has not seen (half an hour)
#   make segmenter     train the network that labels heads, from nothing (hours; 8 minutes of a large GPU)
#   make demo-report   the evaluation report of the demo model in the docs (a quarter of an hour)

PYTHON ?= python3
BIN := .venv/bin
# What installs into an environment: uv where UV_TORCH_BACKEND says which build of PyTorch it should take (cpu:
# the one without CUDA's gigabytes), else pip. constraints.txt pins torch too, so that no extra can bring
# another build of it.
ifdef UV_TORCH_BACKEND
install = uv pip install --quiet --python $(1) --constraint constraints.txt
else
install = $(1)/bin/python -m pip install --quiet --constraint constraints.txt
endif

# A worker for each core and one more, since many tests wait for other processes; each has one thread. The tests of a
# file stay together, and share what they set up. Whole runs come first (e2e), so that no worker is left alone with one.
workers = $(shell $(BIN)/python -c "import os; print(min(os.cpu_count() + 1, 8))")
pytest = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest --numprocesses $(workers) --dist loadfile \
    --no-loadscope-reorder

.PHONY: demo serve test test-quick test-slow fuzz lint coverage docs packages demo-model demo-figures segmenter demo-report clean

demo: .venv/.installed
	$(BIN)/brainldm generate --sex F --age 65 --ventricular-volume-ml 30 --brain-volume-ml 1450 \
	    --seed 7 --preview --overwrite --out demo-output

serve: .venv/.installed-serve
	$(BIN)/brainldm serve

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint docs .venv/.browser
	$(pytest)

test-quick: lint
	$(pytest) tests/unit

test-slow: .venv/.installed-test
	$(BIN)/pytest -m slow

MINUTES ?= 10
fuzz: .venv/.installed-test
	$(BIN)/python benchmarks/fuzz.py --minutes $(MINUTES)

coverage: .venv/.installed-test
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest --numprocesses logical --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage html --quiet
	$(BIN)/coverage report

docs: .venv/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

packages: .venv/.installed-test
	rm -rf dist build/packages
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv build/packages/wheel
	$(call install,build/packages/wheel) dist/*.whl
	PATH="$(CURDIR)/build/packages/wheel/bin:$$PATH" .ci/bare
	tar --extract --file dist/*.tar.gz --directory build/packages
	$(MAKE) --directory build/packages/brainldm-* test-quick

MAPS := build/label-maps
HELD_OUT := training_seg_02,training_seg_19
label_maps = BRAINLDM_CACHE=build $(BIN)/brainldm download label-maps
figures = $(BIN)/brainldm demo figures --label-maps $(MAPS) --only $(HELD_OUT) --out build/demo-figures

demo-model: .venv/.installed-train
	$(label_maps)
	$(BIN)/brainldm simulate --label-maps $(MAPS) --leave-out $(HELD_OUT) --number 324 --twins --jobs 2 \
	    --out build/demo-model/heads
	$(BIN)/brainldm train autoencoder --data build/demo-model/heads \
	    --preset src/brainldm/demo/recipe.yaml --out build/demo-model/autoencoder
	$(BIN)/brainldm train diffusion --data build/demo-model/heads --autoencoder build/demo-model/autoencoder \
	    --preset src/brainldm/demo/recipe.yaml --out build/demo-model/conditioned
	$(BIN)/brainldm train diffusion --data build/demo-model/heads --from build/demo-model/conditioned \
	    --preset src/brainldm/demo/emphasis.yaml --out build/demo-model/followed
	$(BIN)/brainldm train decoder --data build/demo-model/heads --from build/demo-model/followed \
	    --preset src/brainldm/demo/recipe.yaml --out build/demo-model/finished
	$(BIN)/brainldm train calibrate --model build/demo-model/finished --number 200 --overwrite \
	    --out build/demo-model/model
	$(figures) --model build/demo-model/model

demo-figures: .venv/.installed-train
	$(label_maps)
	$(figures)

segmenter: .venv/.installed-train
	$(label_maps)
	$(BIN)/brainldm train segmenter --label-maps $(MAPS) --leave-out $(HELD_OUT) --jobs 2 --out build/segmenter

demo-report: .venv/.installed-test
	$(label_maps)
	$(BIN)/brainldm generate --number 100 --seed 0 --overwrite --out build/demo-report/generated
	$(BIN)/brainldm simulate --label-maps $(MAPS) --only $(HELD_OUT) --seed 100000 --number 100 --jobs 2 \
	    --out build/demo-report/real
	$(BIN)/brainldm simulate --label-maps $(MAPS) --leave-out $(HELD_OUT) --number 300 --jobs 2 \
	    --out build/demo-report/training
	$(BIN)/brainldm evaluate --generated build/demo-report/generated --real build/demo-report/real \
	    --training build/demo-report/training --scaled --model demo --jobs 2 --out build/demo-report/report
	mkdir -p docs/demo-report
	cp build/demo-report/report/report.html build/demo-report/report/report.json docs/demo-report

clean:
	rm -rf .venv build dist demo-output

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "brainldm needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# Stamps: an install runs again only when what it installs from has changed.
.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(call install,.venv) --editable .
	@touch $@

# A browser for the tests of the page: the system's Chromium, or Debian's where root may install it, or Playwright's.
.venv/.browser: | .venv/.installed-test
	@command -v chromium >/dev/null \
	    || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install --yes -qq chromium; } \
	    || $(BIN)/playwright install --with-deps chromium \
	    || echo "There is no Chromium: the tests of the page are skipped."
	@touch $@

.venv/.installed-%: pyproject.toml constraints.txt | .venv/bin/python
	$(call install,.venv) --editable '.[$*]'
	@touch $@
