# Two commands matter: `make run` and `make test`. `make check` lints and types, `make model` trains the default model.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8000
DATA ?= ../shared/data
SAMPLE := api/sample/catalog.csv
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test check model clean

run: $(VENV)/.serving
	$(BIN)/dongil cluster $(SAMPLE) --output $(VENV)/sample-clusters.csv
	@echo "Serving $(SAMPLE) on http://$(HOST):$(PORT) (Ctrl-C stops it; the API is described at /docs)"
	$(BIN)/dongil serve --catalog $(SAMPLE) --host $(HOST) --port $(PORT)

test: $(VENV)/.everything
	$(BIN)/python -m pytest

check: $(VENV)/.everything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The model that ships: about three hours on two cores. DATA is a folder of the sets named in its card.
model: $(VENV)/.everything
	$(BIN)/dongil train $(foreach set,korea_cvs naver_model_code danawa naver_catalog_iherb_pairs oliveyoung_rank \
		shopee abt-buy amazon-google walmart-amazon,$(DATA)/$(set)/titles.csv) \
		--unlabelled $(DATA)/korean_unlabelled/titles.csv --test-where fold=1 \
		--base small --weight korea_cvs=3 --weight naver_model_code=2 --weight shopee=3 \
		--weight danawa=0.3 --weight amazon-google=0.5 --weight walmart-amazon=0.3 --decision-folds 2 \
		--notes training/default.md --output embedder/default --work runs/default

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Serving needs neither torch nor transformers.
$(VENV)/.serving: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable ".[cpu]"
	touch $@

$(VENV)/.everything: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable ".[cpu,train,bench,dev]"
	touch $@
	touch $(VENV)/.serving
