# Targets: make help. PYTHON=python3.12 names another interpreter for the environment in .venv.
PYTHON ?= python3
BIN := .venv/bin
# A lent GPU machine has no network and no .venv: whatever python3 has the packages.
# PYTHONPATH may name the wheels that were brought along.
PYTHON_HERE = PYTHONPATH=.$${PYTHONPATH:+:$$PYTHONPATH} $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-slow check docs docs-serve hooks finn triton finn-base finn-matrix lint-oracle fuzz torture gpu-check gpu-evidence campaign format pictures results help

help:
	@sed -n 's/^#: //p' Makefile

.venv/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and f"qtrain needs Python 3.11 or newer, {v} was found: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || { echo "installing into .venv (some minutes, once)"; $(PYTHON) -m venv .venv; }
	$(INSTALL) -e .
	@touch $@

.venv/.dev: .venv/.base
	$(INSTALL) -e ".[dev,lightning,ray,search,docs]"
	@touch $@

# One thread: at this width two cost more time than they save. One seed decides nothing at any tolerance, which is no
# failure here (--undecided ok is its default); the tolerance is the default of 0.5 points.
#: make demo    train CNV_1W1A on the embedded digits with ASLR and multi-step, prove both exports, write the report
demo: .venv/.base
	OMP_NUM_THREADS=1 $(BIN)/qtrain compare CNV_1W1A --data digits --seeds 1 --board ZCU104 --out demo

# loadfile: trained networks, FINN builds and Ray clusters that the tests of a file share are made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 8 --dist loadfile --durations 10

#: make test    run the tests (those that need CIFAR run where QTRAIN_DATA names its folder)
test: .venv/.dev
	$(PYTEST) -m "not slow"

#: make test-slow  the tests that take long: whole builds by FINN, a Ray cluster that loses a node, torchrun
test-slow: .venv/.dev
	$(PYTEST) -m slow

#: make check   format, lint and type check
check: .venv/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

#: make format  put the code into the form that make check asks for
format: .venv/.dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

#: make docs    the documentation as a site in site/ (no network); make docs ARGS=--lint asks lint again
docs: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m docs_tools.pages $(ARGS)
	$(BIN)/python -W ignore -m docs_tools.sweep_pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

# Browsers keep a page of the disk from reading the search index; from a server of this machine it may.
#: make docs-serve  the site at http://127.0.0.1:8000, with its search, until Ctrl-C
docs-serve: docs
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory site 8000

#: make hooks   let git strip the outputs of notebooks as they are added (nbstripout, in this checkout alone)
hooks: .venv/.dev
	$(BIN)/nbstripout --install --attributes .gitattributes

#: make finn    install the FINN compiler (finn-plus) beside the training environment, for estimate-only builds
finn: .venv/.base
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r constraints-finn.txt

#: make triton  install Triton, which tests the GPU kernels without a GPU (640 MB)
triton: .venv/.base
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r constraints-triton.txt

.venv-finn-base/.done: constraints-finn-base.txt
	$(PYTHON) -m venv --clear .venv-finn-base
	.venv-finn-base/bin/pip install --quiet --disable-pip-version-check -c $< pip
	PIP_BUILD_CONSTRAINT=$< .venv-finn-base/bin/pip install --quiet --disable-pip-version-check -r $<
	.venv-finn-base/bin/python -I -c "import finn.core.onnx_exec"
	@touch $@

#: make finn-base an environment of its own for finn-base, the executor of qtrain verify --finn-base
finn-base: .venv-finn-base/.done

#: make finn-matrix  every network at every bit width through export, proof and the compiler; resumable (hours)
finn-matrix: .venv/.base finn
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m benchmarks.finn_matrix $(ARGS)
	$(BIN)/python -W ignore -m docs_tools.finn_pages

#: make lint-oracle  lint against the compiler on random networks; ARGS="--cases 20 --max-minutes 10"
lint-oracle: .venv/.dev finn
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m benchmarks.lint_oracle $(ARGS)

#: make fuzz     damaged inputs of every reader through the commands; ARGS="--what recipe,run --cases 10000 --max-minutes 60"
fuzz: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m benchmarks.fuzz $(ARGS)

#: make torture  1,000 kills, 10,000 damaged inputs and a bit of every file, an hour in pieces; the same command goes on
torture: .venv/.dev
	$(BIN)/python -m benchmarks.torture $(ARGS)

#: make gpu-check  whether training on this machine's GPU is right, some minutes; ARGS="--device cpu --tiny" tries the checks
gpu-check:
	$(PYTHON_HERE) -W ignore -m benchmarks.gpu_check $(ARGS)

#: make gpu-evidence  what a GPU can tell in OUT=folder MAX_MINUTES=12; ARGS="--device cpu --tiny" tries the stages
OUT ?= runs/gpu-evidence
MAX_MINUTES ?= 12
gpu-evidence:
	$(PYTHON_HERE) -W ignore -m benchmarks.gpu_evidence --out "$(OUT)" --max-minutes $(MAX_MINUTES) $(ARGS)

#: make campaign go on with the evidence on CIFAR-10, two runs at a time (a day); ARGS=--status, ARGS="--max-hours 2"
campaign: .venv/.base
	$(BIN)/python -m benchmarks.campaign $(ARGS)

#: make pictures  screenshots of a sweep's and the demo's page in docs/pictures (chromium; make demo before)
pictures: .venv/.dev
	$(BIN)/python -W ignore -m docs_tools.screenshots

#: make results render results/README.md from the recorded runs, and the figures of ASLR from the class
results: .venv/.base
	$(BIN)/python -m docs_tools.render
	$(BIN)/python -W ignore -m docs_tools.finn_pages
	$(BIN)/python -W ignore -m docs_tools.zoo_sizes
	$(BIN)/python -m docs_tools.official_pages
	$(BIN)/python -W ignore -m docs_tools.sweep_pages
	$(BIN)/python -c "from qtrain.report.paper.aslr_figures import figure_3, figure_4; figure_3().savefig('docs/aslr_search.png', dpi=110); figure_4().savefig('docs/aslr_draws.png', dpi=110)"
