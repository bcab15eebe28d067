# Capstan: `make` lists what there is to do.

SHELL := /bin/bash
.DEFAULT_GOAL := help

GO         ?= go
FUZZTIME   ?= 30s
# Per package. The whole suite has to stay under ten minutes on two cores.
TESTTIMEOUT ?= 9m
PKG        ?= ./...
# The packages whose tests take longest begin first, so that none ends alone.
LONGEST    := ./store ./cmd/capstan ./api
# The race detector holds every process for a second before it ends; these tests start
# hundreds.
RACE       := CGO_ENABLED=1 GORACE=atexit_sleep_ms=0
# Where cgo works, go vet reads what the tests are compiled from as well, with the
# race detector: nothing is compiled twice.
VETFLAGS   ?= $(if $(filter 1,$(shell $(GO) env CGO_ENABLED 2>/dev/null)),-race)
# What `make bench` hands to the benchmark: --captures 20000 --reps 5, …
BENCHFLAGS ?=
# How many finished captures the ledger of `make bench-large` holds.
LEDGER     ?= 10000000

# Go cannot stamp a binary with the revision where git refuses to tell it: no
# commit yet, or a checkout of another user. Then the binary goes unstamped.
BUILDVCS := $(shell git rev-parse --verify --quiet HEAD >/dev/null 2>&1 || echo -buildvcs=false)

.PHONY: help
help: ## this list
	@echo "Capstan captures the payment of every approved order exactly once."
	@echo
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z][a-z-]*:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Start with: make demo"

##@ See it run (needs Go; Postgres and Redis are started as children, nothing has to be running)

.PHONY: demo
demo: deps build ## approve 200 orders against a gateway that misbehaves, watch the repairs, check the books
	bin/capstan demo

.PHONY: dev
dev: deps build ## everything in one process: API on :8080, admin on :9090, sandbox gateway on :9100
	bin/capstan dev

.PHONY: build
build: check-go ## the static binary bin/capstan
	CGO_ENABLED=0 $(GO) build -trimpath $(BUILDVCS) -ldflags='-s -w' -o bin/capstan ./cmd/capstan

##@ Test it

.PHONY: test
test: deps-race ## every test, with the race detector, on a real Postgres and Redis
	@echo "Compiling with the race detector (minutes on a fresh machine) and testing, two packages at a time, then the worker alone."
ifeq ($(PKG),./...)
	$(RACE) $(GO) test -race -vet=off -p 2 -timeout $(TESTTIMEOUT) $(LONGEST) $$($(GO) list ./... | grep -v '/capstan/worker$$')
	$(RACE) $(GO) test -race -vet=off -timeout $(TESTTIMEOUT) ./worker
else
	$(RACE) $(GO) test -race -vet=off -p 1 -timeout $(TESTTIMEOUT) $(PKG)
endif
	$(RACE) $(GO) -C bench test -race -vet=off -timeout $(TESTTIMEOUT) ./...

.PHONY: test-short
test-short: deps ## the tests without the long ones and without the race detector
	$(GO) test -short -timeout $(TESTTIMEOUT) $(PKG)
	$(GO) -C bench test -short -timeout $(TESTTIMEOUT) ./...

.PHONY: prove
prove: deps-race ## what is long at full size: every crash, 1,000 stuck captures, the restore drill (a quarter of an hour)
	$(RACE) $(GO) test -race -p 1 -timeout 60m ./store ./worker ./cmd/capstan ./gateway/external -prove

.PHONY: cover
cover: deps ## coverage of all packages by all tests, to bin/cover.html
	@mkdir -p bin
	$(GO) test -timeout $(TESTTIMEOUT) -coverpkg=./... -coverprofile=bin/cover.out $(PKG)
	$(GO) tool cover -html=bin/cover.out -o bin/cover.html
	@$(GO) tool cover -func=bin/cover.out | tail -n 1

.PHONY: fuzz
fuzz: check-go ## every fuzz target for FUZZTIME (30s) each
	@set -e; for package in $$($(GO) list $(PKG)); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

.PHONY: lint
lint: vet fmt-check ## go vet, gofmt, and staticcheck where it is installed
	@if command -v staticcheck >/dev/null; then staticcheck ./...; \
	else echo "staticcheck was not run: it is not installed (go install honnef.co/go/tools/cmd/staticcheck@latest)"; fi

.PHONY: vet
vet: check-go
	$(GO) vet $(VETFLAGS) ./...
	$(GO) -C bench vet $(VETFLAGS) ./...

.PHONY: fmt-check
fmt-check: check-go
	@files=$$("$$($(GO) env GOROOT)/bin/gofmt" -l $$($(GO) list -e -f '{{.Dir}}' ./...) bench | sort -u); \
	if [ -n "$$files" ]; then echo "not formatted; run: gofmt -w" $$files; exit 1; fi

##@ Measure it (starts a Postgres and a Redis of its own; leave the machine alone meanwhile)

.PHONY: bench
bench: deps build peers ## Capstan against a naive handler and River, interleaved, every row verified (half an hour)
	bin/capstan bench $(BENCHFLAGS)

.PHONY: bench-large
bench-large: deps build peers ## the same in a ledger of LEDGER (10 million) finished captures (an hour, 40 GB of disk)
	bin/capstan bench --ledger $(LEDGER) --cases capstan,capstan-large,naive,sweep,sweep-large $(BENCHFLAGS)

.PHONY: peers
peers: check-go ## bin/capstan-peers, what the benchmark compares with: a module of its own
	CGO_ENABLED=0 $(GO) -C bench build -trimpath $(BUILDVCS) -ldflags='-s -w' -o ../bin/capstan-peers .

.PHONY: bench-go
bench-go: deps ## the Go benchmarks of single functions, with allocations
	$(GO) test -run '^$$' -bench . -benchmem -timeout 30m $(PKG)

##@ Run it for production (needs a Docker engine with the compose plugin)

.PHONY: up
up: .env ## build the image and start every role, Postgres, Redis, Prometheus and Grafana
	docker compose up --build --detach --wait

.PHONY: down
down: .env ## stop all of it; the volumes stay
	docker compose down

.PHONY: compose-check
compose-check: ## check docker-compose.yml: by docker compose where it is, else by parsing it
	@if docker compose version >/dev/null 2>&1; then \
		docker compose --env-file .env.example config --quiet && echo "docker compose accepts docker-compose.yml"; \
	else \
		echo "docker compose is not here: docker-compose.yml is parsed and checked by a test instead"; \
		$(GO) test -count=1 -run 'Compose|EnvExample' ./archtest; \
	fi

.env:
	@echo "There is no .env yet. Run: cp .env.example .env   and fill in what has no value." >&2; exit 1

##@ Set up and tidy

.PHONY: deps
deps: check-go ## install Postgres and Redis if missing (root with apt-get), or say the line that does
	@devstack/install.sh

.PHONY: deps-race
deps-race: check-go
	@devstack/install.sh race

.PHONY: check-go
check-go:
	@command -v $(GO) >/dev/null || { echo "Go is not installed, or not on PATH: https://go.dev/dl/ ($$(grep '^go ' go.mod) or newer)" >&2; exit 1; }
	@$(GO) list -m >/dev/null || { echo "This Go cannot build the module: $$(grep '^go ' go.mod) or newer is needed, https://go.dev/dl/" >&2; exit 1; }

.PHONY: clean
clean: ## remove bin/; the data of `make dev` in .capstan stays
	rm -rf bin
