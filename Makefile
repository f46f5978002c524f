# The whole of the set-up is two commands: `make demo` (the main job) and `make test` (everything CI runs).
# A machine needs Python >= 3.11 and make. PYTHON=python3.13 picks another interpreter, VENV=DIR another environment.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= runs/demo
BIN := $(abspath $(VENV))/bin
PYTEST_ARGS ?=
# Two one-thread workers beat one two-thread process here (docs/background/performance.md), in tests too.
export OMP_NUM_THREADS ?= 1
export HF_HUB_DISABLE_TELEMETRY = 1

# An environment that holds only the oldest transformers that pyproject.toml allows, with what that release needs, over the main one.
OLDEST := $(abspath $(VENV))/oldest
TRANSFORMERS := $(shell sed -n 's/^  "transformers>=\(.*\)",/\1/p' pyproject.toml)

.PHONY: demo test static unit oldest docs crash bench gpu-check help clean
help:
	@echo "make demo   the main job on the demo corpus: real encoders, fusion heads, an HTML report (about 5 minutes)"
	@echo "make test   static checks and every test that CI runs"
	@echo "make oldest the encoder contract with the oldest transformers that pyproject.toml allows (part of make test)"
	@echo "make docs   the documentation site in site/, with search that works without a network; fails on a broken link (part of make test)"
	@echo "make crash  the crash and fuzz suites in full (two hours or so; SER_SOAK_SECONDS=60 shortens the soak, which is one of them)"
	@echo "make bench  the benchmarks, as ratios in one run (about an hour; quiet machine)"
	@echo "make gpu-check  promises and speed on a machine with CUDA (8 minutes at most)"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("ser-fusion needs Python >= 3.11; $(PYTHON) is " + sys.version.split()[0] + ". Give one: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)

# A stamp for each extra: installed again only when pyproject.toml changes.
$(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	@echo "Installing ser-fusion[$*] into $(VENV); torch is the large part, a few minutes the first time ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@ $(if $(filter test,$*),$(VENV)/.installed-demo $(VENV)/.installed-docs) # the extra `test` holds both

demo: $(VENV)/.installed-demo
	@mkdir -p $(DEMO) && cp docs/demo.toml $(DEMO)/ser.toml
	cd $(DEMO) && $(BIN)/ser-extract --layer 4
	cd $(DEMO) && $(BIN)/ser-fuse --fusion audio,text,self,cross --pooling stats --out results
	@echo
	@echo "$(DEMO)/ser.toml makes the two commands work bare in that folder: ser-extract --layer 4; ser-fuse --fusion cross --pooling stats"

test: static docs oldest unit

static: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python docs/prose.py

# One line for each reason to skip, then pytest's closing line, which counts them.
unit: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not crash" -rs --durations=15 $(PYTEST_ARGS)

oldest: $(OLDEST)/.installed-$(TRANSFORMERS)
	@echo "Encoder contract with transformers $(TRANSFORMERS):"
	$(OLDEST)/bin/python -m pytest -q tests/extract/encoders/test_encoder_contract.py

$(OLDEST)/.installed-$(TRANSFORMERS): $(VENV)/.installed-test
	rm -rf $(OLDEST) && $(BIN)/python -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  "transformers==$(TRANSFORMERS)" "huggingface-hub<2" "tokenizers<=0.23.0" "httpx<1" "httpcore<2"
	main=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	  own=$$($(OLDEST)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	  echo "import site; site.addsitedir('$$main')" > "$$own/main.pth"
	@touch $@

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@! grep -rlE '<(script[^>]* src|link rel="stylesheet"[^>]* href)="?https?:' site --include='*.html' || { echo "These pages fetch from the network."; exit 1; }

crash: $(VENV)/.installed-test
	SER_CRASH_FULL=1 $(BIN)/python -m pytest -q -rs tests/crash $(PYTEST_ARGS)
	SER_CRASH_FULL=1 $(BIN)/python -m pytest -q -rs -m crash --ignore tests/crash $(PYTEST_ARGS)

bench: $(VENV)/.installed-test
	@mkdir -p runs/bench
	@set -e; for bench in tests/benchmarks/bench_*.py; do echo "== $$bench"; \
	  $(BIN)/python $$bench --scale full --json runs/bench/$$(basename $$bench .py).json; done

gpu-check: $(VENV)/.installed-test
	@mkdir -p runs/bench
	$(BIN)/python tests/benchmarks/gpu_check.py --json runs/bench/gpu_check.json --table runs/bench/gpu_check.md

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
