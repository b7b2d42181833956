# Every target says after ## what it does; "make help" prints that.

PREFIX      ?= /usr/local
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BIN         := $(CURDIR)/bin
UML         := $(CURDIR)/internal/lab/uml
APISERVER   := $(CURDIR)/internal/lab/apiserver
# --version says which commit it is, where git knows.
GOBUILD      = CGO_ENABLED=0 go build -trimpath -buildvcs=$(if $(shell git rev-parse HEAD 2>/dev/null),true,false)

# The race detector needs a C compiler, which setup may have to install first: looked up when it is used.
race         = $(if $(shell command -v gcc),-race)
# The tests on devices: they are run on this machine's kernel, and again on one that has WireGuard.
device_tests = $(shell grep -rl --include='*_test.go' '\<Main(m)' . | xargs -n 1 dirname | sort -u | grep -v -e apply/live -e internal/storm)
# Packets are counted while nothing else is tested; and there is nothing in it for the race detector to see.
live         = -count=1 -timeout 20m ./apply/live
scripts      = $(shell grep -rlE --exclude-dir=.git --exclude-dir=bin '^\#!/bin/(ba)?sh' .)

.NOTPARALLEL:
.PHONY: build demo test check fuzz bench test-machine test-kernel test-live apiserver kernel setup install clean help

# Nobody speaks HTTP/2 to wg-apply: without it a spoke's takes a third of a megabyte less.
build: ## the programs, in bin/ (the default)
	$(GOBUILD) -tags nethttpomithttp2 -o $(BIN)/ ./cmd/wg-apply
	$(GOBUILD) -o $(BIN)/ ./cmd/wg-render ./cmd/wg-device ./cmd/wg-bench

demo: build ## a hub and spokes on this machine, in namespaces of their own, in under a minute
	@internal/lab/setup.sh demo
	@$(GOBUILD) -o $(BIN)/demo ./internal/demo
	@$(BIN)/demo $(BIN)

test: FUZZTIME = 2000x
test: setup check build apiserver kernel test-machine test-live test-kernel fuzz ## everything there is to test

check: ## gofmt, vet, staticcheck, shellcheck
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "gofmt -w $$unformatted"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	$(if $(shell command -v shellcheck),shellcheck $(scripts),@echo "shellcheck is not installed")

test-machine: build # all tests, on the machine's own kernel
	@rm -f $(BIN)/figures
	WGKUBE_FIGURES=$(BIN)/figures WGKUBE_BIN=$(BIN) go test $(race) -count=1 -timeout 30m -skip '^TestAsWGQuick$$' $$(go list ./... | grep -v /apply/live)
	@[ ! -e $(BIN)/figures ] || cat $(BIN)/figures
	# hundreds of files, each with wg-quick and the finished wg-apply: nothing in it for the race detector to see
	WGKUBE_BIN=$(BIN) go test -count=1 -timeout 20m -run '^TestAsWGQuick$$' ./apply/kernel

# It has one processor: of the storms those that are quick there, with two gigabytes. And some tests are about the API
# server alone.
test-kernel: build # the tests on devices once more, in a User-mode Linux with WireGuard
	@if [ -n "$$($(UML)/build.sh)" ]; then set -x; \
		export CGO_ENABLED=0 WGKUBE_BIN=$(BIN) WGKUBE_APISERVER=$$($(APISERVER)/build.sh); \
		go test -count=1 -timeout 20m -skip '^(TestFailStatic|TestLightOnTheAPI|TestAnImpostor|TestApply|TestFences)$$' -exec $(UML)/run.sh $(device_tests) && \
		go test -count=1 -timeout 10m -run '^(TestWhatIsTold|TestNoKeyIsShown|TestKilledAtAnyMoment|TestSoak)$$' \
			-exec "$(UML)/run.sh -m 2048" ./internal/storm -args -soak=30s && \
		go test -exec $(UML)/run.sh $(live); \
	elif [ "$$WGKUBE_REQUIRE" = all ]; then exit 1; \
	else echo "the tests on a kernel with WireGuard are left out"; fi

test-live: build ## what a change costs those it does not concern, with packets on their way
	WGKUBE_BIN=$(BIN) go test $(live)

FUZZTIME ?= 30s

# To make smaller what is new and at no fault takes Go a minute each, in which it tries nothing else. And a time may end in
# "context deadline exceeded" before Go 1.27 (golang.org/issue/75804); a count, as in make test, does not.
fuzz: ## every fuzz target for FUZZTIME=30s; make test: 2000 times
	@set -e; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\)(.*/\1/p' $$file); do \
			echo "$$(dirname $$file) $$target"; \
			go test $$(dirname $$file) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x; \
		done; done

bench: setup build apiserver ## measure the pipeline and a tunnel, and refresh docs/benchmarks.md; 20 minutes, on a quiet machine
	WGKUBE_APISERVER=$$($(APISERVER)/build.sh) $(BIN)/wg-bench pipeline --wg-quick-up 10000 --dir docs/benchmarks --page docs/benchmarks.md
	$(BIN)/wg-bench tunnel --dir docs/benchmarks --page docs/benchmarks.md

apiserver: # kube-apiserver, kubectl and etcd, built once and kept in ~/.cache/wg-kube
	$(APISERVER)/build.sh

kernel: # the User-mode Linux, built once and kept in ~/.cache/wg-kube
	$(UML)/build.sh || [ "$$WGKUBE_REQUIRE" != all ]

setup: # the Debian packages that the tests need
	internal/lab/setup.sh test

install: ## the programs, their units, and the user and the folders that they need, below $(DESTDIR)$(PREFIX)
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(BIN)/wg-render $(BIN)/wg-apply $(BIN)/wg-device
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/sysusers.d systemd/sysusers.d/*
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/tmpfiles.d systemd/tmpfiles.d/*
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system systemd/system/*.service systemd/system/*.path
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system/kubelet.service.d systemd/system/kubelet.service.d/*
	mkdir -p $(DESTDIR)$(PREFIX)/share/wg-kube && cp -r systemd/optional/. $(DESTDIR)$(PREFIX)/share/wg-kube
	@# on a machine that runs, at once; elsewhere the next boot does it
	[ -n "$(DESTDIR)" ] || [ ! -d /run/systemd/system ] || \
		{ systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload; }

clean: ## removes bin/; what is in ~/.cache/wg-kube stays
	rm -rf $(BIN)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 10
