# The two commands are make study and make test; the rest serves them.

STUDY ?= data/demo
CLIPS ?=
JOBS ?=
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
RUN_OPTIONS := $(if $(CLIPS),--clips "$(CLIPS)") $(if $(JOBS),--jobs $(JOBS))

.PHONY: study book lab test test-all help

help:
	@echo "make study                    run the demo study and build the book"
	@echo "make study STUDY=data/jhmdb CLIPS=FOLDER [JOBS=N]   run another study"
	@echo "make book                     build the book again"
	@echo "make lab                      open JupyterLab on the notebooks"
	@echo "make test                     run the tests (make test-all: the slow ones too)"

.DEFAULT_GOAL := help

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "leanclips needs Python 3.11 or newer: set PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Setting up $(VENV) (a few minutes the first time; PyTorch is large) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) --editable '.[test]'
	@# opencv-python needs libGL. Without it, install the same OpenCV without windows.
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
	  echo "This system has no libGL: installing opencv-python-headless instead."; \
	  $(INSTALL) --force-reinstall --no-deps opencv-python-headless; }
	@touch $@

study: $(READY)
	@echo "Running the study $(STUDY); finished work is kept ..."
	@$(BIN)/leanclips run "$(STUDY)" $(RUN_OPTIONS)
	@$(BIN)/leanclips book "$(STUDY)"

book: $(READY)
	@# Without STUDY: the study that the book showed last.
	@$(BIN)/leanclips book $(if $(filter file,$(origin STUDY)),,"$(STUDY)")

lab: $(READY)
	@$(BIN)/jupyter lab --notebook-dir=. notebooks/finetune.ipynb

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not browser"

test-all: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist loadgroup
