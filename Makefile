# The two commands of the README, and what they stand on. Everything happens in .venv.
PYTHON ?= python3
VENV ?= .venv
METHOD ?= mender_emb
# spark as well: make test EXTRAS=all,test,spark
EXTRAS ?= all,test
# Without a GPU, a smaller torch: make quickstart TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
TORCH_INDEX_URL ?=
PIP_INSTALL = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test lint clean

quickstart: $(VENV)/.installed
	$(VENV)/bin/python scripts/quickstart.py --method $(METHOD)

# Offline on purpose: no test may need the Hub.
test: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(VENV)/bin/python -m pytest

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .

# torch first: the constraints pin a build that the other packages accept as it is.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(f"Mender needs Python 3.11 or newer, this is {sys.version.split()[0]}; set PYTHON=") if sys.version_info < (3, 11) else None'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) torch
	$(PIP_INSTALL) --editable '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf outputs
