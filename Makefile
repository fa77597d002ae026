# One command each: demo (set up and audit the embedded default), test, check. A virtual environment in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Modules of tests that run at once; each starts processes of its own.
JOBS ?= 2
PATHS := singaudit tests examples

.PHONY: demo test faults cluster stores check kernels format docs bench setup system clean

demo: setup
	$(BIN)/singaudit demo -o singaudit-demo

test: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

# Audits under faults: broken hubs and disks, limits on memory, signals, files that change or are damaged at random, an
# offline machine that is watched. Some minutes.
faults: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist load -m faults

# A Ray cluster of two workers on this machine, one of them killed: in a process of its own, for beside other tests the
# end of a cluster was once the end of theirs.
cluster: setup
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest -m cluster tests/engine/test_ray.py

# The clients of Google's and Azure's stores, against servers on this machine: too large to come with every setup.
stores: setup
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[gcs,azure]'
	$(BIN)/python -m pytest tests/dataset/sources/test_object_store.py

check: setup
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/ruff check $(PATHS)
	$(BIN)/mypy
	$(BIN)/interrogate -q singaudit
	$(BIN)/python -m pytest tests/test_architecture.py tests/test_readme.py

# What is computed under every set of kernels that this processor can run: some minutes.
kernels: setup
	$(BIN)/python -m pytest -m kernels tests/test_kernels.py

format: setup
	$(BIN)/ruff format $(PATHS)
	$(BIN)/ruff check --fix $(PATHS)

# The page of commands, from the commands.
docs: setup
	$(BIN)/python examples/write_commands.py

bench: setup
	$(BIN)/pip install -q -c constraints.txt -e '.[bench]'
	$(BIN)/python examples/benchmarks/run.py

setup: $(VENV)/.installed

# The constraints pin what development and CI run on; the package's own ranges are wider.
$(VENV)/.installed: pyproject.toml constraints.txt | system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# PDF reports need pango and a font; where apt-get can be used they are installed, elsewhere the audit says what is missing.
system:
	@$(PYTHON) -c "import ctypes.util, sys; sys.exit(not ctypes.util.find_library('pango-1.0'))" \
	|| { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	     && apt-get update -qq && apt-get install -y -qq libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core >/dev/null; } \
	|| echo "pango is missing: reports will have no PDF (apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0)"

clean:
	rm -rf $(VENV) build dist singaudit-demo singaudit-out
