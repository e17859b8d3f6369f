# Everything from a fresh clone: `make demo-fast`, `make demo`, `make test`. Settings:
#   PYTHON=python3.11   the interpreter that makes the environment, if it is not there
#   VENV=.venv          where it is made
#   MICRO_VENV=.venv-micro  where `make micro` makes the one for microcontrollers
#   PACKAGES=openmmlab  OpenMMLab's own releases of 2024 instead of OneDL's (onedl);
#                       with a VENV of their own
#   MAX_JOBS=2          compilers at a time for MMCV's ops
#   TEST_JOBS=2         processes of the test suite
#   DEMO_ARGS=--anew    more arguments of tools/demo.py
#   TORCH_CPU_INDEX=    where PyTorch's build for CPUs is, for Linux without a GPU; empty,
#                       and wherever it does not answer: that of pip's index
# pip's own variables (PIP_INDEX_URL, PIP_FIND_LINKS, ...) are honoured. uv installs
# where it is on PATH: requirements/install.sh.
PYTHON ?= python3
VENV ?= .venv
MICRO_VENV ?= .venv-micro
PACKAGES ?= onedl
MAX_JOBS ?= $(shell nproc 2>/dev/null || echo 2)
TEST_JOBS ?= 2
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
DEMO_ARGS ?=
PYTEST_ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

# An environment that is there stays what it was made with.
ifneq ($(MAKECMDGOALS),clean)
MADE_WITH := $(shell cat $(VENV)/.packages 2>/dev/null)
ifneq ($(filter-out $(PACKAGES),$(MADE_WITH)),)
$(error PACKAGES=$(PACKAGES): $(VENV) was made with $(MADE_WITH); name another VENV)
endif
VERSION := -c 'import sys; print("%d.%d" % sys.version_info[:2])'
ifeq ($(MAKELEVEL) $(filter-out file,$(origin PYTHON)),0 $(origin PYTHON))
ifneq ($(wildcard $(STAMP)-venv),)
MADE_BY := $(shell $(BIN)/python $(VERSION))
ifneq ($(shell $(PYTHON) $(VERSION)),$(MADE_BY))
$(error PYTHON=$(PYTHON): $(VENV) was made with Python $(MADE_BY); name another VENV)
endif
endif
endif
endif

INSTALL := @bash requirements/install.sh
export PYTHON VENV PACKAGES MAX_JOBS TORCH_CPU_INDEX

.DELETE_ON_ERROR:
.PHONY: env micro demo demo-fast docs test test-slow lint format clean

env: $(STAMP)-project

$(STAMP)-venv:
	$(INSTALL) venv
	@touch $@

$(STAMP)-torch: requirements/torch.txt requirements/build.txt \
    requirements/tried.txt | $(STAMP)-venv
	$(INSTALL) torch
	@touch $@

$(STAMP)-classifier: setup.py requirements/$(PACKAGES).txt requirements/runtime.txt \
    requirements/demo.txt $(STAMP)-torch
	$(INSTALL) classifier
	@touch $@

$(STAMP)-mmcv: $(STAMP)-torch
	$(INSTALL) mmcv
	@touch $@

$(STAMP)-openmmlab: requirements/$(PACKAGES).txt $(STAMP)-mmcv
	$(INSTALL) openmmlab
	@touch $@

$(STAMP)-project: setup.py requirements/runtime.txt requirements/demo.txt \
    requirements/cam.txt requirements/onnx.txt requirements/prune.txt \
    requirements/robustness.txt requirements/dev.txt requirements/docs.txt \
    $(STAMP)-openmmlab
	$(INSTALL) project
	@touch $@

micro: $(MICRO_VENV)/.stamp

$(MICRO_VENV)/.stamp: requirements/micro.txt
	@VENV=$(MICRO_VENV) bash requirements/install.sh micro
	@touch $@

# Its environment is a part of the whole one, which serves where it is there.
demo-fast: $(if $(wildcard $(STAMP)-mmcv),env,$(STAMP)-classifier)
	$(BIN)/python tools/demo.py --classifier-only $(DEMO_ARGS)

demo: demo-fast
	@$(MAKE) --no-print-directory env
	$(BIN)/python tools/demo.py $(filter-out --anew,$(DEMO_ARGS))

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
