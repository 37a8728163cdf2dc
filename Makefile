# `make demo` runs the main job on embedded data; `make test` runs the tests. Both set up what they need, once.
.DEFAULT_GOAL := help
.PHONY: help demo test lab clean
SHELL := /bin/bash

VENV := .venv
BIN := $(VENV)/bin
# For example PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" for torch without CUDA.
PIP_FLAGS ?=
# A particular Python for the environment, for example PYTHON=python3.12; else the first fit one is taken.
PYTHON ?=

say = @printf 'cranial: %s\n'

help:
	@echo "make demo   set up, then run every notebook at demo scale; results in outputs/demo/"
	@echo "make test   set up, then check the style and run the tests"
	@echo "make lab    set up, then open JupyterLab on the notebooks"
	@echo "make clean  remove the environment and the demo's results"

demo: $(VENV)/.with-lab
	@started=$$SECONDS; set -e; shopt -s nullglob; \
	params=(params/demo/*.yaml); total=$${#params[@]}; done=0; \
	for file in "$${params[@]}"; do \
	  name=$$(basename "$$file" .yaml); done=$$((done + 1)); \
	  echo "cranial: notebook $$done of $$total, $$name: $$(head -n 1 "$$file" | sed 's/^# *//')"; \
	  $(BIN)/cranial run "notebooks/$$name.ipynb" "$$file" --output "outputs/demo/$$name"; \
	done; \
	echo "cranial: the demo took $$((SECONDS - started)) s. Where to look:"; \
	for file in "$${params[@]}"; do \
	  name=$$(basename "$$file" .yaml); \
	  echo "  outputs/demo/$$name/notebook.ipynb   pictures in outputs/demo/$$name/figures/"; \
	done; \
	echo "  open them with: make lab"

test: $(VENV)/.with-dev
	$(say) "style (ruff)"
	@$(BIN)/ruff check .
	$(say) "tests (pytest)"
	@$(BIN)/python -m pytest

lab: $(VENV)/.with-lab
	@$(BIN)/jupyter lab notebooks

clean:
	rm -rf $(VENV) outputs/demo

# The environment. One stamp a set of extras: made anew only when pyproject.toml is younger than the stamp.
$(VENV)/.with-lab: pyproject.toml | $(BIN)/python
	@$(call install,.[lab])
	@touch $@

$(VENV)/.with-dev: pyproject.toml | $(BIN)/python
	@$(call install,.[lab$(comma)app$(comma)batch$(comma)bench$(comma)gpu$(comma)dev])
	@touch $(VENV)/.with-lab $@

comma := ,
define install
printf 'cranial: installing %s into $(VENV): minutes the first time, details in $(VENV)/install.log\n' '$(1)'; \
started=$$SECONDS; \
$(BIN)/python -m pip install $(PIP_FLAGS) --editable '$(1)' >$(VENV)/install.log 2>&1 \
  || { tail -n 25 $(VENV)/install.log; \
       echo 'cranial: the installation failed; the lines above are the end of $(VENV)/install.log' >&2; exit 1; }; \
printf 'cranial: installed in %s s\n' $$((SECONDS - started))
endef

$(BIN)/python:
	@for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14); do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "cranial: making the environment $(VENV) with $$("$$candidate" --version) ($$candidate)"; \
	    rm -rf $(VENV); "$$candidate" -m venv $(VENV); exit; \
	  fi; \
	done; \
	echo "cranial: no Python of version 3.11 or newer with venv was found" \
	     "(on Debian and Ubuntu: apt install python3-venv); or name one: make PYTHON=/path/to/python" >&2; \
	exit 1
