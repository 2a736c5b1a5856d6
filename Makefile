# A thin wrapper: everything is done by run.py, which needs nothing but a Python.
PYTHON ?= python3
export FOR BENCH ROUNDS SKUS QUICK JSON WITH

COMMANDS := help setup demo test check bench chaos clean
.PHONY: $(COMMANDS)
.DEFAULT_GOAL := help

$(COMMANDS):
	@command -v $(PYTHON) >/dev/null || { echo "No Python / Python yok: curl -LsSf https://astral.sh/uv/install.sh | sh && uv python install --default 3.12"; exit 127; }
	@$(PYTHON) run.py $@
