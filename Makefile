# The commands of the README, and what they stand on. Everything happens in .venv.
PYTHON ?= python3
VENV ?= .venv
METHOD ?= mender_steer
DEMO_PORT ?= 7860
# of make reproduce: the domain, the folder of its raw files (downloaded by default), further options of mender reproduce
DOMAIN ?= sample
RAW ?=
OPTIONS ?=
# of the tests
WORKERS ?= 3
# spark as well: make test EXTRAS=all,spark
EXTRAS ?= all
# Without a GPU, a smaller torch: make quickstart TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
TORCH_INDEX_URL ?=
# constraints.txt is the newest that the suite was run with, constraints-oldest.txt the lower bounds of pyproject.toml.
CONSTRAINTS ?= constraints.txt
# -qq: an index that lacks a package is a warning a package. Python compiles what it imports, in half of the time that
# pip takes to compile everything; where it must not, pip does.
PIP_INSTALL = $(VENV)/bin/python -m pip install -qq --disable-pip-version-check --constraint $(CONSTRAINTS) \
    $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile)

.PHONY: quickstart demo reproduce test test-oldest lint clean

quickstart: $(VENV)/.installed
	$(VENV)/bin/mender quickstart --method $(METHOD)

# The quickstart's model in the browser; the first call runs the quickstart before.
demo: $(VENV)/.installed
	test -d outputs/quickstart/model || $(MAKE) quickstart
	$(VENV)/bin/mender leaderboard outputs/quickstart --output_dir outputs/quickstart/leaderboard
	$(VENV)/bin/mender demo outputs/quickstart/model --port $(DEMO_PORT) \
	    --results outputs/quickstart/results.json --leaderboard outputs/quickstart/leaderboard/leaderboard.json

# Every figure of a domain, from raw files to tables; after an interruption the same command continues.
reproduce: $(VENV)/.installed
	$(VENV)/bin/mender reproduce --domain $(DOMAIN) $(if $(RAW),--raw_dir $(RAW)) $(OPTIONS)

# Offline on purpose: no test may need the Hub. WORKERS=0 is one process, for a debugger; a worker takes up to 1.5 GB.
test: $(VENV)/.installed-test
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses $(WORKERS) --dist worksteal

# The same suite on the lower bounds, in an environment of its own. On another Python:
# make test PYTHON=python3.12 VENV=.venv-3.12
test-oldest:
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# torch first: the constraints pin a build that the other packages accept as it is.
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(f"Mender needs Python 3.11 or newer, this is {sys.version.split()[0]}; set PYTHON=") if sys.version_info < (3, 11) else None'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "installing torch and some 100 packages into $(VENV): a few minutes, once"
	@$(PIP_INSTALL) $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) torch
	@echo "torch is there; now the others"
	@$(PIP_INSTALL) --editable '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "installing what the tests need"
	@$(PIP_INSTALL) --editable '.[test]'
	@touch $@

clean:
	rm -rf outputs
