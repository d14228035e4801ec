# Everything a fresh machine needs is python3 and make: each target sets up its own .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PAGES := README.md CHANGELOG.md CONTRIBUTING.md docs recipes

.PHONY: demo test test-fast lint format study-small clean

demo: $(READY)
	$(BIN)/tdro demo --output runs/demo

test: $(READY) lint
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: $(READY)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mdformat --check $(PAGES)
	$(BIN)/mypy

# The study of mixtures at its small scale, three seeds side by side on two cores, so that neither is idle
# at the end; needs the sixteen tasks beside the checkout, and the model that `make demo` fetches.
STUDY := $(BIN)/tdro compare benchmarks/mixtures/static.yaml --output runs/study-static
study-small: $(READY)
	printf '%s\n' 0 1 2 3 4 | OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false xargs -P 3 -I SEED \
		$(STUDY) --seed SEED
	$(STUDY)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mdformat $(PAGES)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[run,clean,inspect,gguf,lora,mteb,dev]'
	touch $@

clean:
	rm -rf $(VENV) runs
