# The commands of the README, and what they stand on. Everything happens in .venv.
PYTHON ?= python3
VENV ?= .venv
METHOD ?= mender_steer
DEMO_PORT ?= 7860
# of the tests
WORKERS ?= 2
# spark as well: make test EXTRAS=all,test,spark
EXTRAS ?= all,test
# Without a GPU, a smaller torch: make quickstart TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
TORCH_INDEX_URL ?=
# constraints.txt is the newest that the suite was run with, constraints-oldest.txt the lower bounds of pyproject.toml.
CONSTRAINTS ?= constraints.txt
PIP_INSTALL = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)

.PHONY: quickstart demo test test-oldest lint clean

quickstart: $(VENV)/.installed
	$(VENV)/bin/python scripts/quickstart.py --method $(METHOD)

# The quickstart's model in the browser; the first call runs the quickstart before.
demo: $(VENV)/.installed
	test -d outputs/quickstart/model || $(MAKE) quickstart
	$(VENV)/bin/python scripts/make_leaderboard.py outputs/quickstart --output_dir outputs/quickstart/leaderboard
	$(VENV)/bin/python model_cards/spaces/demo/app.py --model outputs/quickstart/model --port $(DEMO_PORT) \
	    --results outputs/quickstart/results.json --leaderboard outputs/quickstart/leaderboard/leaderboard.json

# Offline on purpose: no test may need the Hub. WORKERS=0 is one process, for a debugger; a worker takes up to 1.5 GB.
test: $(VENV)/.installed
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses $(WORKERS) --dist worksteal

# The same suite on the lower bounds, in an environment of its own. On another Python:
# make test PYTHON=python3.12 VENV=.venv-3.12
test-oldest:
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .

# torch first: the constraints pin a build that the other packages accept as it is.
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(f"Mender needs Python 3.11 or newer, this is {sys.version.split()[0]}; set PYTHON=") if sys.version_info < (3, 11) else None'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) torch
	$(PIP_INSTALL) --editable '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf outputs
