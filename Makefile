# Every developer action. `make help` lists them; the time beside each is its budget on two cores.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run-installed
DEV_STAMP := $(VENV)/.dev-installed
QUICKSTART ?= examples/quickstart.yaml
SEEDS ?= 1000
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
DOCKER ?= docker
KIND ?= kind
HELM ?= helm
BASE_IMAGE ?= python:3.11-slim
BUILD_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help up test test-fast sim lint types contracts format map compat nightly chaos bench bench-cluster bench-balance bench-metrics metrics-doc dashboards observe lock wheel images manifests kind-up deploy kind-down e2e contract clean

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(RUN_STAMP) ## install, then run the quickstart in the foreground until Ctrl-C (first time 30 s, then 1 s)
	@exec $(BIN)/moldau up -f $(QUICKSTART)

test: $(DEV_STAMP) ## install what the tests need and run all that need no Kubernetes (15 min)
	$(BIN)/python -m pytest -m "not slow and not cluster and not e2e and not observe" -n 2 --dist loadgroup
	$(BIN)/python -m pytest -m "not slow and cluster and not e2e and not observe"

test-fast: $(DEV_STAMP) ## unit and tidy tests only (1 min)
	$(BIN)/python -m pytest tests/unit tests/tidy -q

sim: $(DEV_STAMP) ## simulated clusters under faults: SEEDS=1000 of them, or the story of one, SEED=n (3 min)
ifdef SEED
	$(BIN)/python -m moldau_broker.testing.sim --seeds $(SEED) --trace $(if $(LAYER),--layer $(LAYER))
else
	$(BIN)/python -m moldau_broker.testing.sim --count $(SEEDS) --jobs 2 $(if $(LAYER),--layer $(LAYER))
endif

compat: $(DEV_STAMP) ## only the tests with real clients and tools (5 min)
	$(BIN)/python -m pytest tests/compat -v

lint: $(DEV_STAMP) ## ruff: rules and format (5 s)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV_STAMP) ## mypy --strict (60 s)
	$(BIN)/mypy

contracts: $(DEV_STAMP) ## import contracts (5 s)
	$(BIN)/lint-imports

format: $(DEV_STAMP) ## let ruff fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

map: ## what every module is for, by its own first line
	@$(PYTHON) tests/tidy/module_map.py

nightly: export MOLDAU_NIGHTLY = 1
nightly: export HYPOTHESIS_PROFILE = nightly
nightly: $(DEV_STAMP) ## all tests, slow ones and new examples too; every fault of chaos; 9,000 further seeds (3 h)
	$(BIN)/python -m pytest -m "not cluster and not e2e and not observe" -n 2 --dist loadgroup
	$(BIN)/python -m pytest -m "cluster and not e2e and not observe"
	$(BIN)/python -m tests.chaos
	$(BIN)/python -m moldau_broker.testing.sim --seeds 1000..9999 --jobs 2

chaos: $(DEV_STAMP) ## every fault against three real brokers and real clients, and what each cost (25 min)
	$(BIN)/python -m tests.chaos

bench: $(DEV_STAMP) ## the load report, as ratios against Apache Kafka where MOLDAU_KAFKA_TOOLS names it (45 min)
	$(BIN)/python -m benchmarks

bench-cluster: $(DEV_STAMP) ## three brokers against three of Apache Kafka: speed, failover, memory, starts (60 min)
	$(BIN)/python -m benchmarks.cluster

bench-balance: $(DEV_STAMP) ## balance plans against their bounds and a greedy; fails on a missed promise (20 s)
	$(BIN)/python -m benchmarks.balance

bench-metrics: $(DEV_STAMP) ## what a scrape costs with 1,000 and 50,000 group-partitions; fails on a missed promise (3 min)
	$(BIN)/python -m benchmarks.metrics

metrics-doc: $(DEV_STAMP) ## write the table of all metrics into docs/metrics.md
	$(BIN)/python tests/tidy/metrics_page.py

dashboards: $(DEV_STAMP) ## write dashboards/*.json and the chart's copies from the Python that says what they show (1 s)
	$(BIN)/python -m dashboards

observe: $(DEV_STAMP) ## a real Prometheus on a real cluster under load and faults: every panel, every alert (6 min)
	$(BIN)/python -m pytest -m observe -v tests/observability

lock: $(DEV_STAMP) ## pin every dependency with hashes into requirements/*.lock
	$(BIN)/python -m pip install -q pip-tools
	$(BIN)/pip-compile -q --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  --extra broker --extra operator --extra cli -o requirements/run.lock pyproject.toml
	$(BIN)/pip-compile -q --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  -c requirements/run.lock --extra kubernetes -o requirements/dev.lock requirements/dev.in pyproject.toml
	$(BIN)/pip-compile -q --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  -c requirements/dev.lock --extra broker -o requirements/broker.lock pyproject.toml
	$(BIN)/pip-compile -q --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  -c requirements/dev.lock --extra operator --extra kubernetes -o requirements/operator.lock pyproject.toml

wheel: $(DEV_STAMP) ## one wheel of everything in dist/, for the images (10 s)
	$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -w dist .

images: wheel ## the broker's and the operator's image, by docker (1 min)
	$(DOCKER) build $(BUILD_FLAGS) --build-arg BASE_IMAGE=$(BASE_IMAGE) -t moldau/broker:$(VERSION) -f broker/Dockerfile .
	$(DOCKER) build $(BUILD_FLAGS) --build-arg BASE_IMAGE=$(BASE_IMAGE) -t moldau/operator:$(VERSION) -f operator/Dockerfile .

manifests: ## the chart as one file for kubectl apply -f, into deploy/moldau.yaml (needs helm)
	printf '%s\n' '# Everything the operator needs, in a namespace of its own; made from the chart by make manifests.' \
	  'apiVersion: v1' 'kind: Namespace' 'metadata: {name: moldau}' > deploy/moldau.yaml
	$(HELM) template moldau charts/moldau --namespace moldau --kube-version 1.34.0 --include-crds \
	  --set clusterRole.create=true >> deploy/moldau.yaml

kind-up: ## a Kubernetes of three machines in containers (needs docker and kind; 1 min)
	$(KIND) create cluster --config kind-config.yaml --wait 120s

deploy: images ## images into that Kubernetes, and the operator by its chart (needs helm; 2 min)
	$(KIND) load docker-image --name moldau moldau/broker:$(VERSION) moldau/operator:$(VERSION)
	$(HELM) upgrade --install moldau charts/moldau --set clusterRole.create=true --wait --timeout 3m

kind-down: ## remove that Kubernetes and everything in it
	$(KIND) delete cluster --name moldau

e2e: $(DEV_STAMP) ## end to end on the Kubernetes of KUBECONFIG, which must have the images (needs kubectl, helm; 20 min)
	$(BIN)/python -m pytest tests/e2e -m e2e -v -s

contract: $(DEV_STAMP) ## what we ask of an API server: of the one in memory, and of KUBECONFIG's where it is set (2 min)
	$(BIN)/python -m pytest tests/contract -v

clean: ## remove the environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): pyproject.toml requirements/run.lock | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/run.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q broker operator cli  # half of a cold start
	@touch $@

$(DEV_STAMP): $(RUN_STAMP) requirements/dev.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/dev.lock
	@touch $@
