# The only commands to remember. Each one sets up what it needs; a second run skips what is done.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# make rehearse DATA=bikes.csv TARGET=cnt ORDER_BY=dteday,hr DROP=instant,casual,registered GATE="r2>=0.85" ARGS=--down
rehearse_options = $(if $(DATA),--data "$(DATA)") $(if $(TARGET),--target "$(TARGET)") \
	$(if $(ORDER_BY),--order-by "$(ORDER_BY)") $(if $(DROP),--drop "$(DROP)") $(if $(GATE),--gate "$(GATE)") $(ARGS)

.PHONY: help setup rehearse test bench-serving check fix down clean bench-cloud bench-engine bench-training bench-monitor soak fuzz

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## make .venv and install the project with all its extras

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "sagestage needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Set PYTHON=python3.11"; exit 1; }
	@echo "Setting up $(VENV): about 150 packages, a minute or two the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --no-warn-script-location \
		--constraint constraints.txt --editable '.[infra,train,serve,onnx,local,images,dev]'
	@touch $@

rehearse: $(STAMP)  ## train, package, preview, deploy and test a model on this machine
	@$(BIN)/sagestage rehearse $(rehearse_options)

# Functional tests start servers, trainings and containers, and wait for them: one after another.
test: $(STAMP)  ## run the tests (ARGS="tests/unit -k NAME": only those)
	@$(BIN)/python -m pytest $(or $(ARGS),--numprocesses 2 tests/unit tests/property tests/test_architecture.py)
	@$(if $(ARGS),,$(BIN)/python -m pytest tests/functional)

fuzz: $(STAMP)  ## feed the codecs bodies that reach new code, for ten minutes (ARGS="-max_total_time=60")
	@$(BIN)/python tests/fuzz/codecs.py .sagestage/fuzz -max_total_time=600 -artifact_prefix=.sagestage/fuzz/ $(ARGS)

PEERS := benchmarks/serving/.venv

bench-serving: $(PEERS)/.installed $(STAMP)  ## time the server beside its peers and save the table in docs/serving.md
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m benchmarks.serving.bench $(ARGS)

$(PEERS)/.installed: benchmarks/serving/requirements.txt
	@echo "Setting up $(PEERS): the peers, a few minutes the first time"
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@test -x $(PEERS)/mlserver/bin/python || $(PYTHON) -m venv $(PEERS)/mlserver
	@$(PEERS)/mlserver/bin/python -m pip install --quiet --disable-pip-version-check 'mlserver>=1.6' uvloop safetensors
	@touch $@

bench-engine: $(STAMP)  ## time the embedded engine beside the real Pulumi CLI, and its growth with the stack
	@$(BIN)/python benchmarks/engine/bench.py $(ARGS)

bench-cloud: $(STAMP)  ## time the embedded cloud's front beside one instance's own port
	@$(BIN)/python benchmarks/cloud/front.py $(ARGS)

bench-training: $(STAMP)  ## time the preparation and training of a million rows beside pandas and bare torch
	@$(BIN)/python benchmarks/training/bench.py $(ARGS)

bench-monitor: $(STAMP)  ## the monitor: false alarms and detections by simulation, speed, memory; saves docs/monitoring.md
	@$(BIN)/python benchmarks/monitor/bench.py $(ARGS)

soak: $(STAMP)  ## a hundred updates and rollbacks under load: no request may be lost
	@$(BIN)/python benchmarks/cloud/soak.py $(ARGS)

# The engine of containers/engine.sh is started only where none runs, and where it may (root on Debian).
engine = eval "$$(containers/engine.sh env)"

.PHONY: engine images sbom local-mode engine-stop

engine:
	@containers/engine.sh start
	@$(engine); docker image inspect python:3.11-slim >/dev/null 2>&1 || docker pull --quiet python:3.11-slim 2>/dev/null || \
		containers/engine.sh base

images: $(STAMP) engine  ## build the training and serving images (ARGS="--device gpu"); `make engine-stop` ends an engine that it started
	@$(engine); $(BIN)/sagestage images build $(ARGS)

sbom: $(STAMP)  ## write the bills of materials of the images into .sagestage/sbom (CycloneDX)
	@$(engine); for role in inference training; do \
		$(BIN)/sagestage images sbom sagestage-$$role:cpu --out .sagestage/sbom/$$role.cdx.json || exit 1; done

AWS := .venv-aws

$(AWS)/.installed: constraints-aws.txt
	@echo "Setting up $(AWS): the SageMaker SDK, a minute or two the first time"
	@test -x $(AWS)/bin/python || $(PYTHON) -m venv $(AWS)
	@$(AWS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement constraints-aws.txt
	@touch $@

local-mode: $(STAMP) $(AWS)/.installed  ## train and serve the images with the SageMaker SDK's local mode
	@$(engine); SAGESTAGE_CONTAINERS=required $(BIN)/python -m pytest -vv tests/functional/test_local_mode.py $(ARGS)

engine-stop:  ## end the engine that `make images` started; its images stay (containers/engine.sh purge)
	@containers/engine.sh stop

check: $(STAMP)  ## lint, formatting and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

fix: $(STAMP)  ## let the linter and formatter mend what they can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

down: $(STAMP)  ## stop the embedded cloud and every process that it started
	@$(BIN)/sagestage cloud stop

clean: down  ## stop everything and remove what was built
	@rm -rf $(VENV) .sagestage stacks/Pulumi.local.yaml *.egg-info .mypy_cache .ruff_cache
