# hearth: every task of the project. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
MAKEFLAGS += --no-print-directory

engine := docker/provide-engine.sh; docker/provide-base.sh; . docker/host.sh
host := . docker/host.sh

.PHONY: scale roll models use rollback soak help up down logs build quantize reload smoke quality doctor test unit integration e2e lint k8s-check lock bench-router bench-gateway bench bench-memory bench-start

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' Makefile

up: ## build what is missing, start the stack, wait until it answers
	@$(engine)
	say "profile $$COMPOSE_PROFILES"; [ "$$HEARTH_CA" = /dev/null ] || say "handing the CA bundle $$HEARTH_CA to the build"
	bake $${COMPOSE_PROFILES//,/ }
	docker/start.sh
	docker/print-usage.sh "$$url"

down: ## stop the stack
	@$(host); docker compose --profile "*" down

logs: ## follow the stack's logs
	@$(host); docker compose logs --follow --tail 100

build: ## build the images of this machine's profile
	@$(engine); bake $${COMPOSE_PROFILES//,/ }

quantize: ## quantize HEARTH_RECIPE in a container (on the GPU if there is one) into weights/; `make build` then bakes it
	@$(engine)
	gpu=(); [[ ,$$COMPOSE_PROFILES, != *,gpu,* ]] || { gpu=(--gpus all); export HEARTH_ACCELERATOR=cuda; }
	HEARTH_WEIGHTS= bake quantizer
	mkdir -p weights
	docker run --rm --init "$${gpu[@]}" --user "$$(id -u):$$(id -g)" --cap-drop ALL --security-opt no-new-privileges \
		--volume "$$PWD/models:/models:ro" --volume "$$PWD/weights:/weights" --env HF_TOKEN --env HEARTH_DEVICE_MEMORY_GIB --env HOME=/tmp \
		"$${ca[@]}" "$$(image quantizer)" \
		"/models/$$recipe.yaml" $${HEARTH_BACKEND:+--backend "$$HEARTH_BACKEND"} \
		--work "/weights/.$$recipe.work" --out "/$$made" $(ARGS)

models: ## what can be served here, by whom it was made, how good and how large it is
	@$(host); docker/models.sh

use: ## have the running stack serve MODEL, without an error for anyone
	@docker/use.sh "$(MODEL)"

rollback: ## go back to the model before, the same way
	@docker/use.sh --back

roll: ## have each engine behind the router start anew, one after the other, without an error for anyone
	@docker/roll.sh

reload: ## bring a change of SERVICE (default: gateway) into the running stack, touching nothing else
	@$(host); service=$(or $(SERVICE),gateway)
	bake "$$service"
	docker compose up --detach --no-build --no-deps --wait "$$service"

smoke: ## functional checks against the running stack
	@$(host)
	docker run --rm --network host --read-only --cap-drop ALL --security-opt no-new-privileges --env HEARTH_API_KEY \
		"$${HEARTH_REGISTRY:-}hearth-gateway:$${HEARTH_VERSION:-0.1.0}" smoke --url "$$url"

quality: ## what quantizing cost in quality; BACKEND=auto-gptq shows the other back end's weights beside it
	@docker/provide-engine.sh; docker/provide-base.sh; docker/quality.sh $(BACKEND)

bench: .venv/ready ## 16 bit and INT4, stock vLLM and ours, one after the other; writes reports/bench.html; PROFILE=cpu, gpu
	@$(engine); docker/bench.sh

doctor: ## check this machine and say what to do
	@docker/doctor.sh

test: .venv/ready lint k8s-check unit integration e2e ## everything: lint, types, policies, unit, integration, end to end

unit: .venv/ready
	@.venv/bin/pytest -q tests/unit

integration: .venv/ready
	@docker/provide-redis.sh; .venv/bin/pytest -q tests/integration

scale: .venv/ready ## two engines, a router and two gateways while parts of them die; writes reports/scale.json
	@$(engine); docker/provide-redis.sh; .venv/bin/pytest -q tests/scale --timeout 900 --session-timeout 2400 --maxfail 5 --durations 10

e2e: .venv/ready ## build the images, start the cpu profile, talk to it
	@$(engine); .venv/bin/pytest -q tests/e2e --timeout 900 --session-timeout 3600 --maxfail 10 --durations 20

soak: .venv/ready ## 1000 streams for five minutes while clients leave, the engine restarts and tools die; STREAMS, MINUTES
	@.venv/bin/python -m tests.soak.soak --streams $(or $(STREAMS),1000) --minutes $(or $(MINUTES),5)

lint: .venv/ready ## ruff, mypy, shellcheck
	@.venv/bin/ruff check && .venv/bin/ruff format --check && .venv/bin/mypy && .venv/bin/mypy docker/tools/*.py && .venv/bin/shellcheck --external-sources --source-path=SCRIPTDIR docker/*.sh docker/with-ca docker/requirements/lock.sh .ci/run

k8s-check: .tools/checkov/ready ## checkov's policies, on what the overlays of deploy/k8s build
	@.tools/checkov/bin/checkov --config-file deploy/k8s/checkov.yaml --directory tests/unit/deploy/golden --skip-download

bench-gateway: .venv/ready ## the gateway beside direct, nginx and LiteLLM, and with the tool loop; BENCH is the yardstick's folder (docs/benchmarks.md)
	@[ -x "$(BENCH)/run.sh" ] || { echo "BENCH=FOLDER names the folder of the yardstick's run.sh" >&2; exit 2; }
	export GATEWAY_CMD="env HEARTH_ENGINE_URL=http://127.0.0.1:9000 HEARTH_PORT=9100 HEARTH_LOG_LEVEL=warning $$PWD/.venv/bin/hearth-gateway serve"
	"$(BENCH)/run.sh" $(or $(SECS),5) $(or $(VARIANTS),direct nginx litellm gateway) || [ $$? = 143 ]  # its last act is to stop what it started
	.venv/bin/python -m tests.bench.gateway "$(BENCH)" --rounds $(or $(ROUNDS),5)

bench-router: .venv/ready ## the router's policies beside each other: spread and prefix cache; ARGS
	@$(engine); .venv/bin/python -m tests.scale.policies $(ARGS)

bench-start: .venv/ready ## the CPU engine's start beside that of vLLM's own entry point; ROUNDS
	@$(engine); export COMPOSE_PROFILES=cpu; . docker/host.sh; bake engine-cpu
	.venv/bin/python -m tests.bench.start "$$(image engine-cpu)" --rounds $(or $(ROUNDS),3)

bench-memory: .venv/ready ## the gateway's memory over 100,000 requests, with and without the tool loop; BENCH as above
	@.venv/bin/python -m tests.bench.gateway "$(BENCH)" --memory

lock: .venv/ready ## renew uv.lock and every list of docker/requirements
	@$(host); .tools/bin/uv lock --upgrade && UV=$$PWD/.tools/bin/uv WHEELS=$$(ls $$HEARTH_WHEELS/torch-*.whl >/dev/null 2>&1 && realpath $$HEARTH_WHEELS) docker/requirements/lock.sh

.venv/ready: pyproject.toml uv.lock $(wildcard services/*/pyproject.toml)
	@docker/provide-venv.sh && touch $@

.tools/checkov/ready: docker/requirements/checkov.txt .venv/ready
	@.tools/bin/uv venv -q --clear .tools/checkov && VIRTUAL_ENV=$$PWD/.tools/checkov .tools/bin/uv pip install -q --require-hashes -r $< && touch $@
