# Everything from a fresh clone: `make demo`, `make test`. Settings:
#   PYTHON=python3.11   the interpreter that makes the environment, if it is not there
#   VENV=.venv          where it is made
#   MICRO_VENV=.venv-micro  where `make micro` makes the one for microcontrollers
#   PACKAGES=openmmlab  OpenMMLab's own releases of 2024 instead of OneDL's (onedl);
#                       with a VENV of their own
#   MAX_JOBS=2          compilers at a time for MMCV's ops
#   TEST_JOBS=2         processes of the test suite
# pip's own variables (PIP_INDEX_URL, PIP_FIND_LINKS, ...) are honoured.
PYTHON ?= python3
VENV ?= .venv
MICRO_VENV ?= .venv-micro
PACKAGES ?= onedl
MAX_JOBS ?= $(shell nproc 2>/dev/null || echo 2)
TEST_JOBS ?= 2
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet -c requirements/tried.txt
STAMP := $(VENV)/.stamp
MMCV := $(shell grep -o '^[a-z-]*mmcv' requirements/$(PACKAGES).txt)

.DELETE_ON_ERROR:
.PHONY: env micro demo docs test test-slow lint format clean

env: $(STAMP)-project

$(STAMP)-venv:
	@echo "[1/5] Python environment in $(VENV) (seconds)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
	    "PYTHON=$(PYTHON) is %d.%d: 3.10 or newer is needed" % sys.version_info[:2])'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(STAMP)-torch: requirements/torch.txt requirements/build.txt \
    requirements/tried.txt | $(STAMP)-venv
	@echo "[2/5] PyTorch and the build tools (2 to 4 minutes, 6.6 GB)"
	@$(INSTALL) -r requirements/torch.txt -r requirements/build.txt numpy
	@touch $@

$(STAMP)-mmcv: $(STAMP)-torch
	@echo "[3/5] MMCV, its operators compiled here (5 to 8 minutes;" \
	    "seconds if pip has the wheel in its cache)"
	@CFLAGS="$${CFLAGS--g0}" MAX_JOBS=$(MAX_JOBS) $(INSTALL) \
	    --no-build-isolation $(MMCV)
	@# Operators that were compiled against another PyTorch do not load.
	@$(BIN)/python -c 'import mmcv.ops' 2>/dev/null || { \
	    echo "      again, against this PyTorch (5 to 8 minutes)"; \
	    CFLAGS="$${CFLAGS--g0}" MAX_JOBS=$(MAX_JOBS) $(INSTALL) --no-deps \
	        --no-build-isolation --no-cache-dir --force-reinstall $(MMCV); }
	@touch $@

$(STAMP)-openmmlab: requirements/$(PACKAGES).txt $(STAMP)-mmcv
	@echo "[4/5] MMEngine, MMDetection, MMPretrain (1 minute)"
	@$(INSTALL) --no-build-isolation -r requirements/$(PACKAGES).txt
	@touch $@

$(STAMP)-project: setup.py requirements/runtime.txt requirements/demo.txt \
    requirements/cam.txt requirements/onnx.txt requirements/prune.txt \
    requirements/robustness.txt requirements/dev.txt requirements/docs.txt \
    $(STAMP)-openmmlab
	@echo "[5/5] attnpool_mm itself, editable (seconds)"
	@$(INSTALL) --no-build-isolation -e '.[demo,cam,onnx,prune,robustness,dev,docs]'
	@touch $@

micro: $(MICRO_VENV)/.stamp

$(MICRO_VENV)/.stamp: requirements/micro.txt
	@echo "LiteRT and TensorFlow Lite Micro in $(MICRO_VENV) (some minutes, 8 GB)"
	@$(PYTHON) -m venv $(MICRO_VENV)
	@$(MICRO_VENV)/bin/python -m pip --disable-pip-version-check install --quiet \
	    -r $<
	@touch $@

demo: env
	$(BIN)/python tools/demo.py

# The variable spares a notice: Material for MkDocs is kept up until May 2027.
docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "The site is in site/; with its search: python -m http.server -d site"

test: env
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile \
	    --no-loadscope-reorder $(PYTEST_ARGS)

test-slow: env
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(MICRO_VENV) build dist site *.egg-info work_dirs/demo .pytest_cache .ruff_cache
