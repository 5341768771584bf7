# `make` lists the targets. Everything here also works from a fresh clone; the tools that
# cargo does not bring along are fetched once into $(MCPD_TOOLS), outside the checkout.

MCPD_TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mcpd-tools
export MCPD_TOOLS
export PATH := $(MCPD_TOOLS)/bin:$(PATH)

CARGO ?= cargo
# Seconds for each fuzz target in `make fuzz` and `make test`.
FUZZ_SECONDS ?= 10
# Arguments for the daemon in `make run`, for example ARGS="--listen 127.0.0.1:9000".
ARGS ?=
# Where `make observe` leaves what Prometheus answered; `make pictures` draws it.
ANSWERS ?=
# CI shows every failure of a run, a developer wants the first one soon.
NEXTEST_PROFILE ?= $(if $(CI),ci,default)

.DEFAULT_GOAL := help
.PHONY: help run test bench soak fmt lint doc deny chart image hadolint e2e fuzz clean tools fmt-check unit doctest jaeger nats-server promtool control-plane dashboards rules learning observe pictures

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start the daemon with its built-in defaults (ARGS="..." for more)
	@# Not the release profile: its link-time optimisation makes a first build take minutes.
	$(CARGO) run --locked --profile quick --bin mcpd -- serve $(ARGS)

test: ## Everything CI checks: format, lints, tests, docs, licences, the chart, Dockerfiles, ten seconds of each fuzz target
	@MAKE="$(MAKE)" scripts/run-steps tools fmt-check lint unit doctest doc rules learning deny chart hadolint fuzz

bench: ## Print the figures the project promises, beside their references (minutes; a quiet machine)
	$(CARGO) build --locked --release
	$(CARGO) run --locked --release -p mcpd-figures -- all --mcpd target/release/mcpd

soak: ## The client at length: ten million requests, a thousand clients that lose their server (minutes)
	@# A thousand connections have two ends in this one process.
	ulimit -n 4096 && $(CARGO) bench --locked -p mcpd-client --bench soak

fmt: ## Format the sources
	$(CARGO) fmt --all

lint: ## Clippy over everything, warnings are errors
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

doc: ## Build the API documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

deny: tools-cargo-deny ## Check licences, banned crates and where crates come from
	$(CARGO) deny --locked check licenses bans sources

chart: ## Check helm/mcpd and k8s/ as far as that goes without a cluster (scripts/chart/generate makes what is generated)
	@# With --workspace it has the features that the unit tests have built it with.
	$(CARGO) build --locked --quiet --workspace --bin mcpd
	scripts/chart/check target/debug/mcpd

hadolint: tools-hadolint ## Lint the Dockerfiles
	hadolint Dockerfile e2e/load/Dockerfile

image: ## Build the image mcpd:dev without Docker and without a registry (PROFILE=quick takes a fraction of the time)
	e2e/images mcpd

e2e: ## Start a cluster of one node on this machine and show what mcpd promises in Kubernetes (root; half an hour and more)
	e2e/cluster up
	mkdir -p target && e2e/images >target/e2e-images && xargs e2e/cluster load <target/e2e-images
	KUBECONFIG=$$(e2e/cluster kubeconfig) HELM=$$(tests/support/kubernetes helm) KUBECTL=$$(tests/support/kubernetes kubectl) e2e/run

fuzz: tools-cargo-fuzz ## Run each fuzz target for FUZZ_SECONDS (10)
	scripts/fuzz-smoke $(FUZZ_SECONDS)

clean: ## Remove everything that was built
	$(CARGO) clean
	rm -rf fuzz/target fuzz/artifacts fuzz/coverage

tools: ## Fetch what cargo does not bring along (nextest, deny, fuzz)
	scripts/setup-tools

fmt-check:
	$(CARGO) fmt --all --check
	@# A workspace of its own, and rustfmt refuses one that has no sources yet.
	@[ ! -d fuzz/fuzz_targets ] || $(CARGO) fmt --manifest-path fuzz/Cargo.toml --check

# What stands here as a real counterpart of tests is built once, outside the checkout.
jaeger:
	tests/support/jaeger >/dev/null

nats-server:
	@tests/support/nats-server >/dev/null

promtool:
	@tests/support/prometheus promtool >/dev/null

control-plane:
	tests/support/kubernetes etcd kube-apiserver >/dev/null

unit: tools-cargo-nextest jaeger nats-server promtool control-plane ## Unit and integration tests only
	$(CARGO) nextest run --locked --workspace --profile $(NEXTEST_PROFILE)

doctest: ## The examples in the documentation only
	$(CARGO) test --locked --doc --workspace --quiet

dashboards: ## Write dashboards/*.json from their sources, and the chart's copies
	@"$$(tests/support/python)" dashboards/generate
	@scripts/chart/generate

rules: promtool ## Dashboards, alerts and runbook: do they parse, fit together, and fire when they should?
	@"$$(tests/support/python)" dashboards/generate --check
	@"$$(tests/support/python)" tests/monitoring/check
	promtool check config dashboards/stack/prometheus.yaml
	promtool check rules dashboards/rules-*.yaml
	promtool test rules tests/monitoring/rules/*.yaml

learning: ## The learning alert in a real Prometheus: which shifts it finds, how often it is wrong
	@tests/support/prometheus prometheus >/dev/null
	@"$$(tests/support/python)" tests/monitoring/learning/measure

observe: jaeger ## Dashboards, alerts and traces at work: real servers, Prometheus and Jaeger, real faults (minutes)
	@tests/support/prometheus prometheus >/dev/null
	@tests/support/prometheus prometheus-node-exporter >/dev/null
	$(CARGO) build --locked --profile quick --bin mcpd
	@"$$(tests/support/python)" tests/monitoring/observe/observe target/quick/mcpd $(ANSWERS)

pictures: ## Draw docs/dashboards/*.svg from what Prometheus answers in make observe
	@$(MAKE) --no-print-directory observe ANSWERS=target/answers.json
	@"$$(tests/support/python)" tests/monitoring/observe/draw target/answers.json docs/dashboards

tools-%:
	@scripts/setup-tools $* >/dev/null
