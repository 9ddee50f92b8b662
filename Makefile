# The commands of development. `make test` is the gate: .ci/run calls it.

# scripts/tools.sh installs a newer Node here if the machine's is too old.
export PATH := $(CURDIR)/.tools/node_modules/.bin:$(PATH)

# RUN: the arguments of `make run`. FUZZTIME: how long `make fuzz` runs each target. FUZZSCRIPTS: how
# many scripts of requests it plays. SOAK: how long `make soak` runs each of its three timed tests.
# BACKLOG: how many rows of a backlog it writes. BENCH: the benchmarks that `make bench` runs.
RUN ?= serve
FUZZTIME ?= 30s
FUZZSCRIPTS ?= 1000000
SOAK ?= 10m
BACKLOG ?= 400000
BENCH ?= .

# How many random operations over each schema are compared with Apollo Server, and their seed.
COUNT ?= 1000
SEED := $(or $(SEED),$(shell date +%s))

# Tests run with the race detector, except for SQLite's engine, which is C translated to Go: with it
# the tests would take four times the CPU. Goroutines reach the engine through packages that are
# checked.
RACE := -race -gcflags=modernc.org/sqlite/lib=-race=false

# The tests of package cache that search all states of a protocol, each in one goroutine. The race
# detector would find nothing in them and take five times the CPU. No other package has tests with
# these names.
MODEL := ^TestModel(FindsVariantsWanting)?$$

# The packages with the longest tests start first. Otherwise one of them would run alone at the end.
LONGEST := ./internal/chaos . ./cache/gqlcache ./graph ./cache ./playground ./scripts/modpath

# Where gqlgen writes.
GENERATED := graph internal/tracker internal/shapes examples

.PHONY: help
help:
	@echo "make <target>, where the target is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## serve on http://127.0.0.1:8080: embedded database, demo data, built playground
	@if command -v npm >/dev/null; then \
		$(MAKE) --no-print-directory playground || echo "The playground could not be built: serving gqlgen's page instead."; \
	else \
		echo "Node is not installed: serving gqlgen's page in place of the playground."; \
	fi
	go run . $(RUN)

.PHONY: playground
playground: playground/dist/index.html ## build the playground if its sources changed

playground/dist/index.html: playground/node_modules/.package-lock.json \
		$(wildcard playground/*.html playground/*.json playground/*.ts) \
		$(shell find playground/src playground/public -type f)
	cd playground && npm run build

playground/node_modules/.package-lock.json: playground/package-lock.json
	cd playground && npm ci --no-audit --no-fund
	@touch $@

.PHONY: clients
clients: clients/node_modules/.package-lock.json ## install the GraphQL clients that the tests use

clients/node_modules/.package-lock.json: clients/package-lock.json
	cd clients && npm ci --no-audit --no-fund
	@touch $@

.PHONY: generate
generate: ## regenerate code after a change of a schema, and add stubs of new resolvers
	go tool gqlgen generate
	@set -e; for config in internal/tracker/gqlgen.yml internal/shapes/*/gqlgen.yml examples/*/gqlgen.yml; do \
		(cd "$$(dirname "$$config")" && go tool gqlgen generate --config gqlgen.yml); \
	done

.PHONY: test
test: ## the gate: install missing tools, then lint and run all tests with -race
	scripts/tools.sh make --no-print-directory check

.PHONY: examples
examples: ## lint and test the separate modules in examples/
	@set -e; staticcheck=$$(go tool -n staticcheck); for dir in examples/*/; do \
		echo "$$dir"; (cd "$$dir" && ! grep -rn --include='*.go' '"fieldcache/' . | grep -v '"fieldcache/cache[/"]' && go mod tidy -diff && go vet ./... && "$$staticcheck" ./... && go test -count=1 ./...); \
	done

.PHONY: layers
layers: ## lint and test the separate module that tests other database layers; needs a C compiler
	@set -e; staticcheck=$$(go tool -n staticcheck); cd internal/layers && go mod tidy -diff && export CGO_CFLAGS=-O0 && go vet ./... && "$$staticcheck" ./... && go test -count=1 ./...

.PHONY: check
check: playground clients check-generated lint ## the gate on a machine that has all tools
	$(MAKE) --no-print-directory -j 2 examples layers gate-mutants model # they share no files, and each uses less than one CPU
	go run ./scripts/gotest $(RACE) -skip '$(MODEL)' -vet=off -count=1 -timeout 40m $(LONGEST) ./...

.PHONY: gate-mutants
gate-mutants:
	go run ./scripts/mutants -gate

.PHONY: model
model:
	go run ./scripts/gotest -vet=off -count=1 -run '$(MODEL)' ./cache # lint has run go vet

.PHONY: check-generated
check-generated:
	@before=$$(mktemp -d) && trap 'rm -rf "$$before"' EXIT && for dir in $(GENERATED); do mkdir -p "$$before/$$dir" && cp -R "$$dir/." "$$before/$$dir" || exit 1; done && \
	$(MAKE) --no-print-directory generate && { { for dir in $(GENERATED); do diff -ru "$$before/$$dir" "$$dir" || exit 1; done; } || \
	{ echo "Generated code was out of date and has been regenerated: review the diff and commit it." >&2; exit 1; }; }

.PHONY: quick
quick: ## run the tests without -race; results of unchanged packages are reused
	go test ./...

.PHONY: lint
lint: ## check formatting, modules, vet, staticcheck, govulncheck, scripts, compose, Dockerfile
	scripts/lint.sh

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (30s), then FUZZSCRIPTS (1000000) random scripts of requests
	@set -e; for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -c 6-); do \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x "$$dir"; \
		done; \
	done
	go test -count=1 -timeout 0 -run '^TestFault25ScriptsAsUnderNetHTTP$$' ./internal/fastpath -scripts $(FUZZSCRIPTS) -v

.PHONY: soak
soak: ## run the long tests: for SOAK (10m) each, random schedules of the engine, three gateways with injected faults, and the operator's page under load; then backlogs of BACKLOG (400000) rows, and the module renamed to another path
	go test -race -count=1 -timeout 0 -run '^TestSimulation$$' ./cache -simulate $(SOAK) -v
	go test -race -count=1 -timeout 0 -run TestFaults ./internal/chaos -soak $(SOAK) -v
	SOAK=$(SOAK) go test -count=1 -timeout 0 -run TestOperatorsPageUnderLoad . -v
	go test -count=1 -timeout 0 -run 'TestFault(10|27|28)' ./cache/outbox -rows $(BACKLOG) -v
	BACKLOG=$(BACKLOG) go test -count=1 -timeout 0 -run 'TestFault(10|27|28)' . -v
	go test -count=1 -timeout 0 -run '^TestTheTreeIsMoved$$' ./scripts/modpath -whole -v

.PHONY: mutants
mutants: ## put known bugs into the engine, one at a time, and check that tests fail for each; the gate runs seven
	go run ./scripts/mutants

.PHONY: bench
bench: ## run the benchmarks that match BENCH (all), with allocations
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

.PHONY: bench-servers
bench-servers: ## measure gateways against bare servers, as ratios (docs/benchmarks.md); flags in ARGS: ARGS='-redis redis://127.0.0.1:6379'
	go run ./bench $(ARGS)

.PHONY: policy-apollo
policy-apollo: scripts/apollo-policy/node_modules/.package-lock.json ## compare the cache policies with those of Apollo Server on COUNT (1000) random operations
	@verdicts=$$(mktemp) && trap 'rm -f "$$verdicts"' EXIT && echo "SEED=$(SEED) COUNT=$(COUNT)" && \
	$(RECORD) --count $(COUNT) --seed $(SEED) >"$$verdicts" && \
	go test ./cache/gqlcache -count=1 -run TestVerdictsOfApolloServer -v -verdicts "$$verdicts"

.PHONY: policy-table
policy-table: scripts/apollo-policy/node_modules/.package-lock.json ## record the cache policies of Apollo Server that `make test` compares with
	$(RECORD) --count 200 --seed 1 | gzip -9n >cache/gqlcache/testdata/apollo.jsonl.gz

RECORD = node scripts/apollo-policy/record.mjs graph/testdata/contract.graphqls scripts/apollo-policy/wide.graphqls

scripts/apollo-policy/node_modules/.package-lock.json: scripts/apollo-policy/package-lock.json
	cd scripts/apollo-policy && npm ci --no-audit --no-fund --ignore-scripts
	@touch $@

.PHONY: image
image: ## build the container image fieldcache
	docker build -t fieldcache .

.PHONY: clean
clean: ## remove everything that was built or installed here, but not the embedded database
	rm -rf playground/node_modules clients/node_modules scripts/apollo-policy/node_modules .tools fieldcache
	find playground/dist -mindepth 1 ! -name .gitkeep -delete
