# Two commands on a fresh machine with Python 3.11 and make:
#   make demo   sets everything up and makes the starter model forget World War II
#   make test   sets everything up and runs the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Compiled modules are kept whatever the environment says: tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=
# torch comes first and by itself. From PyPI the build for Linux on x86-64 brings several gigabytes of CUDA; without a GPU
#   make install TORCH_INDEX=https://download.pytorch.org/whl/cpu
# takes the build for processors. With a GPU install the torch you want into .venv beforehand, and it is kept.
TORCH ?= torch==2.13.0
TORCH_INDEX ?=

.PHONY: install demo test test-long test-cuda test-matrix check format docs dist clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expunge needs Python 3.11 or later; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	$(BIN)/python -m pip install --quiet --editable '.[parquet]' --group dev
	touch $@

demo: install
	$(BIN)/expunge run demo --out runs/demo
	$(BIN)/expunge audit runs/demo --budget 3m || [ $$? -eq 3 ] # what attacks bring back is said, and is no failure of the demo

test: install
	$(BIN)/pytest -n auto --dist worksteal

test-long: install
	$(BIN)/python -m pip install --quiet --editable '.[parquet,datasets,lm-eval]'
	$(BIN)/pytest -m long --timeout 3600

# What a GPU shows, with a summary to paste into a report.
test-cuda: install
	$(BIN)/python -m pip install --quiet --editable '.[parquet,bitsandbytes]'
	$(BIN)/expunge doctor
	$(BIN)/pytest -m cuda -rA --durations 0 tests/cuda

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tests of the command line, of recipes and of one run, with Python 3.11 to 3.13 and the lowest and newest packages allowed.
test-matrix: install
	$(BIN)/python tests/matrix.py $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX))

# The pages as a site, in site/; a link that leads nowhere is an error.
docs: install
	$(BIN)/python -m pip install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Wheel and sdist in dist/, and a check that what is installed from the wheel works in a folder without the source.
dist: install
	rm -rf dist build/dist
	$(BIN)/python -m pip install --quiet 'build>=1.2'
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv build/dist
	build/dist/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	build/dist/bin/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	build/dist/bin/python -m pip install --quiet dist/expunge-*.whl
	build/dist/bin/python tests/installed.py build/dist/bin/expunge

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs build dist site .pytest_cache .mypy_cache .ruff_cache
