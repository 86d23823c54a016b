# The two commands are make study and make test; the rest serves them.

STUDY ?= data/demo
CLIPS ?=
JOBS ?=
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
CHROMIUM ?= $(firstword $(foreach name,chromium chromium-browser google-chrome,$(shell command -v $(name))))
RUN_OPTIONS := $(if $(CLIPS),--clips "$(CLIPS)") $(if $(JOBS),--jobs $(JOBS))

.PHONY: study book pdf zip lab test test-all help

help:
	@echo "make study                    run the demo study and build the book"
	@echo "make study STUDY=data/jhmdb CLIPS=FOLDER [JOBS=N]   run another study"
	@echo "make book                     build the book again"
	@echo "make pdf, make zip             ... as one PDF (needs Chromium), or as one file to mail"
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

pdf: book
	@# All pages as one, which Chromium prints.
	@$(BIN)/jupyter-book build -q --all --builder singlehtml --path-output book/_build/one book/_generated
	@$(or $(CHROMIUM),$(error make pdf needs Chromium or Chrome: set CHROMIUM=/path/to/it)) --headless \
	  --no-sandbox --disable-gpu --no-pdf-header-footer --print-to-pdf=book/_build/leanclips.pdf \
	  "file://$(CURDIR)/book/_build/one/_build/singlehtml/index.html" 2>/dev/null
	@echo "The PDF: $(CURDIR)/book/_build/leanclips.pdf"

zip: book
	@rm -f book/_build/leanclips.zip
	@cd book/_build && $(CURDIR)/$(BIN)/python -m zipfile -c leanclips.zip html
	@echo "The zip: $(CURDIR)/book/_build/leanclips.zip (unpack it and open html/index.html)"

lab: $(READY)
	@$(BIN)/jupyter lab --notebook-dir=. notebooks/finetune.ipynb

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not browser"

test-all: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist loadgroup
