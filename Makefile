# make run: everything a fresh machine needs, then the server. make test: everything, then all tests.
PYTHON ?= python3
V := .venv
BIN := $(V)/bin
PAGE := server/static/index.html
PAGE_SOURCES := $(shell find client_sdk/browser/src client_sdk/classroom -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)
NPM_MANIFESTS := $(wildcard client_sdk/package.json client_sdk/package-lock.json client_sdk/browser/package.json client_sdk/classroom/package.json)
NODE := scripts/with-node.sh
PEERS := benchmarks/documents/peers

# An environment that keeps Python from writing bytecode (images of containers set it) would have every process compile
# all it imports: a server takes 2.5 s of processor time to start then, with bytecode 1.1 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run run-cluster test test-long test-bytecode bench bench-instances bench-media soak peers check check-python check-typescript test-python test-typescript services lock generate format clean help

help:
	@echo 'make run   install what is missing and serve on http://localhost:8080'
	@echo 'make run-cluster  the same with several instances behind HAProxy, Redis, PostgreSQL and coturn'
	@echo 'make test  install what is missing and run every check and test'
	@echo 'make bench measure the document flow beside its peers (benchmarks/README.md)'
	@echo 'make bench-media  measure the media forwarder beside Janus'
	@echo 'make soak  20 minutes of media: does a worker use what it used at the beginning?'

run: $(BIN)/.runtime $(PAGE)
	@exec $(BIN)/python -m server

# Several instances behind HAProxy with Redis, PostgreSQL and coturn, from this machine's own packages, for a look;
# CLUSTER_ARGS='--instances 3 --port 9000'.
run-cluster: $(BIN)/.runtime $(PAGE)
	@scripts/install-services.sh cluster
	@exec $(BIN)/python -m scripts.run_cluster $(CLUSTER_ARGS)

# What is to be installed waits for the network, what is to be checked for the processor: side by side.
# TypeScript's tests, which mostly wait, run beside Python's; their output comes after it.
test:
	@$(MAKE) --no-print-directory $(BIN)/.runtime
	@$(MAKE) --no-print-directory --jobs 4 check services test-bytecode
	@$(MAKE) --no-print-directory $(PAGE)
	@mkdir -p build
	@$(MAKE) --no-print-directory test-typescript >build/test-typescript.log 2>&1 & typescript=$$!; \
	  $(MAKE) --no-print-directory test-python; python=$$?; \
	  wait $$typescript; typescript=$$?; cat build/test-typescript.log; \
	  exit $$((python | typescript))

# Deadlines three times as long as on a machine of one's own: nothing is slower for it, and no test fails because
# somebody else's work was in the way. The figures in seconds are held by test-long, on a quiet machine.
test-python test-typescript: export PASSERELLE_TEST_TIME_SCALE ?= 3

# Four at once on two cores: most of them wait for a browser or a server (with three the processors stand still for two
# fifths of the time, and all of it takes a minute more). A file's tests stay together, for what they share.
TESTS_AT_ONCE ?= 4
test-python: services $(BIN)/.dev $(PAGE)
	$(BIN)/pytest -m 'not long' --hypothesis-profile same-examples --numprocesses $(TESTS_AT_ONCE) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-long: services $(BIN)/.dev $(PAGE)
	$(BIN)/pytest --timeout=3600 $(PYTEST_ARGS)

# Whatever should stop a change before its tests run. With --jobs 2 Python and TypeScript side by side.
check: check-python check-typescript

check-python: $(BIN)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-typescript: $(BIN)/.dev client_sdk/node_modules/.ok
	$(NODE) $(BIN)/python -m server.wire.generate --check
	$(NODE) npm --prefix client_sdk run --silent lint

# Each process of tests would compile all tests anew, all of them at once: 10 s of processor time each on a fresh clone,
# with bytecode 4. What is wrong with one is said by the tests.
test-bytecode: $(BIN)/.dev
	-@$(BIN)/pytest -m 'not long' --collect-only -q >/dev/null 2>&1

test-typescript: $(BIN)/.dev client_sdk/node_modules/.ok
	$(NODE) npm --prefix client_sdk test --silent

format: $(BIN)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(BIN)/.dev client_sdk/node_modules/.ok
	$(NODE) $(BIN)/python -m server.wire.generate

# The document flow beside its peers' (benchmarks/README.md); BENCH_ARGS='--only typing --quick', for one.
bench: $(BIN)/.dev peers
	$(BIN)/python -m benchmarks.documents $(BENCH_ARGS)

# The media forwarder beside Janus, the same way; BENCH_ARGS='--quick', for one.
bench-media: $(BIN)/.dev services
	$(BIN)/python -m benchmarks.media $(BENCH_ARGS)

soak: $(BIN)/.dev
	$(BIN)/python -m benchmarks.media.soak $(BENCH_ARGS)
	$(BIN)/python -m benchmarks.media --report

bench-instances: services $(BIN)/.dev $(PEERS)/hocuspocus/node_modules/.ok
	$(BIN)/python -m benchmarks.instances $(BENCH_ARGS)

peers: $(PEERS)/hocuspocus/node_modules/.ok $(PEERS)/y_websocket_server/node_modules/.ok $(PEERS)/pycrdt_websocket/.venv/.ok

# The one install script that is run is SQLite's: it takes a binary, or compiles for two minutes.
$(PEERS)/hocuspocus/node_modules/.ok: $(BIN)/.runtime $(PEERS)/hocuspocus/package-lock.json
	cd $(@D)/.. && ../../../../$(NODE) npm ci --ignore-scripts --no-fund --no-audit --loglevel=error
	cd $(@D)/.. && ../../../../$(NODE) npm rebuild --loglevel=error better-sqlite3
	@touch $@

$(PEERS)/y_websocket_server/node_modules/.ok: $(BIN)/.runtime $(PEERS)/y_websocket_server/package-lock.json
	cd $(@D)/.. && ../../../../$(NODE) npm ci --ignore-scripts --no-fund --no-audit --loglevel=error
	@touch $@

$(PEERS)/pycrdt_websocket/.venv/.ok: $(BIN)/.uv $(PEERS)/pycrdt_websocket/requirements.txt
	test -x $(@D)/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(@D)
	$(BIN)/uv pip install --quiet --python $(@D)/bin/python --require-hashes -r $(PEERS)/pycrdt_websocket/requirements.txt
	@touch $@

# Browsers and servers that the tests start themselves, on free ports of the loopback interface.
services:
	@scripts/install-services.sh

$(BIN)/.uv: requirements/bootstrap.txt scripts/check-python.sh
	@scripts/check-python.sh $(PYTHON)
	test -x $(BIN)/python || $(PYTHON) -m venv $(V)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(BIN)/.runtime: $(BIN)/.uv requirements/runtime.txt pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/runtime.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps --editable .
	@touch $@

$(BIN)/.dev: $(BIN)/.runtime requirements/dev.txt client_sdk/python/pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps --editable client_sdk/python
	@touch $@

client_sdk/node_modules/.ok: $(BIN)/.runtime $(NPM_MANIFESTS)
	cd client_sdk && PUPPETEER_SKIP_DOWNLOAD=1 ../$(NODE) npm ci --no-fund --no-audit --loglevel=error
	@touch $@

$(PAGE): client_sdk/node_modules/.ok $(PAGE_SOURCES)
	$(NODE) npm --prefix client_sdk run --silent build
	@touch $@

# New versions: edit requirements/*.in, then this. Hashes, no address of any registry.
lock: $(BIN)/.uv
	for set in bootstrap runtime dev node; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    --output-file requirements/$$set.txt requirements/$$set.in || exit 1; done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --output-file $(PEERS)/pycrdt_websocket/requirements.txt $(PEERS)/pycrdt_websocket/requirements.in

clean:
	rm -rf $(V) client_sdk/node_modules client_sdk/*/node_modules client_sdk/*/dist server/static build dist
