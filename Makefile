# Everything a newcomer needs: `make demo` and `make test` set themselves up.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
OUT    ?= demo-out

.PHONY: install demo test check containers format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     a whole federation on this machine, with a report at the end (OUT=$(OUT))"
	@echo "make test     the whole test suite"
	@echo "make check    ruff, mypy and the import floors"
	@echo "make containers   build the images and run three hospitals with podman (docs/deploy.md; CONTAINERS=options)"
	@echo "make install  only the virtual environment $(VENV)"

# The stamp is newer than its sources only if the install finished.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/fedward demo --out "$(OUT)"

# Three on two cores: many tests wait for a broker, a deadline or a disk longer than they compute.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal --durations=10

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Not part of any other target: it needs podman, and builds for minutes.
containers: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt podman-compose==1.6.0
	$(BIN)/python deploy/try_containers.py $(CONTAINERS)

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo-out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
