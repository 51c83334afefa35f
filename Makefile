# bryo: build and test. `make help` lists the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

PREFIX  ?= /usr/local
DESTDIR ?=
GO      ?= go
CC      ?= gcc
# bryo is linked with musl where it is installed: a start has 15 % fewer page faults,
# smaller threads and does not ask the processor what it can do, which a virtual machine
# answers slowly (docs/decisions/036). musl has no headers of the kernel: those of the host.
MUSL     = $(shell command -v musl-gcc)
BRYO_CC  = $(if $(MUSL),$(MUSL) -idirafter /usr/include -idirafter /usr/include/$(shell $(CC) -print-multiarch 2>/dev/null),$(CC))

# netgo, osusergo: the resolver and user look-ups of a static binary must not
# load glibc's NSS modules. The exclude tags drop drivers that need C libraries.
TAGS := netgo osusergo urfave_cli_no_docs exclude_graphdriver_btrfs exclude_graphdriver_zfs exclude_disk_quota containers_image_openpgp

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
STATIC  := -s -w -linkmode external -extldflags "-static -Wl,--wrap=abort"
LDFLAGS := $(STATIC) -X bryo/internal/cli.version=$(VERSION) -X bryo/internal/cli.commit=$(COMMIT)

GOARCH    := $(shell $(GO) env GOARCH)
LASTSTAGE := sandbox/laststage/bin/laststage-$(GOARCH)
IMAGES    := internal/images/program/bin/images-$(GOARCH)
REST      := internal/supervisor/rest/bin/rest-$(GOARCH)
EMBEDDED  := $(LASTSTAGE) $(REST) $(IMAGES)

export CGO_ENABLED := 1
# The JSON package of the next Go under the names of the old: it learns a type's fields when
# it meets them, not all that might be met, in each process of a start anew.
export GOEXPERIMENT := jsonv2
# The go command passes the tags to build, vet and test alike.
export GOFLAGS := -trimpath $(GOFLAGS)
comma := ,
empty :=
TAGLIST := $(subst $(empty) $(empty),$(comma),$(strip $(TAGS)))

.PHONY: build
build: bryo ## build ./bryo, one static binary (the default)

# The go command knows what is stale, make does not: always ask it.
.PHONY: FORCE
bryo: $(EMBEDDED) FORCE
	CC="$(BRYO_CC)" $(GO) build -tags "$(TAGLIST)" -ldflags '$(LDFLAGS)' -o $@ .
	@$(MAKE) --no-print-directory check-static

# A dynamic binary would start here and nowhere else.
.PHONY: check-static
check-static: ## fail unless ./bryo needs no loader and no library
	@if readelf -lW bryo | grep -q INTERP || readelf -dW bryo | grep -q NEEDED; then \
	    echo 'bryo: not static:' >&2; readelf -lW bryo | grep -A1 INTERP >&2 || true; \
	    readelf -dW bryo | grep NEEDED >&2 || true; rm -f bryo; exit 1; fi

FREESTANDING = $(CC) -Os -static -nostdlib -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables \
    -fno-pie -no-pie -fcf-protection=none -Wall -Wextra -Werror -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,norelro -s

# The program that runs last before the container's own: no libc, a few kB,
# embedded by the sandbox package.
.PHONY: laststage
laststage: $(LASTSTAGE)
$(LASTSTAGE): sandbox/laststage/src/laststage.c
	$(FREESTANDING) -o $@ $<

# What a supervisor is while it rests: as small, and in one segment.
$(REST): internal/supervisor/rest/src/rest.c
	$(FREESTANDING) -Wl,-z,noseparate-code -o $@ $<

# The image role: what registries and the image store need, and no start does.
$(IMAGES): FORCE
	$(GO) build -tags "$(TAGLIST)" -ldflags '$(STATIC)' -o $@ ./internal/images/worker

.PHONY: demo
demo: build-packages build ## build, then run a first container from the built-in image
	./bryo run --rm hello

# Root installs what the build needs and what makes it better; a plain user is told in one line.
BUILD_PACKAGES  := gcc libc6-dev linux-libc-dev binutils
BETTER_PACKAGES := musl-tools
.PHONY: build-packages
build-packages:
	@command -v $(GO) >/dev/null || { echo 'make: no go command: install Go 1.26 or newer and put it in PATH' >&2; exit 1; }
	@missing=; packages="$(BUILD_PACKAGES)"; [ "$$(id -u)" != 0 ] || packages+=" $(BETTER_PACKAGES)"; \
	for p in $$packages; do \
	    [ "$$(dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null)" = installed ] || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ] || ! command -v dpkg-query >/dev/null; then \
	    command -v $(firstword $(CC)) >/dev/null && command -v readelf >/dev/null || { echo "make: the build needs a C compiler and binutils" >&2; exit 1; }; \
	elif [ "$$(id -u)" = 0 ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; \
	else echo "make: missing packages: run 'sudo apt-get install$$missing'" >&2; exit 1; fi; \
	command -v musl-gcc >/dev/null || echo 'make: no musl-gcc: bryo is linked with glibc and starts a little slower (package $(BETTER_PACKAGES))' >&2

# Both halves run even when the first fails, so that one run names all failures.
.PHONY: test
test: build ## unit and integration tests; says what was skipped and why
	@rc=0; $(MAKE) --no-print-directory unit || rc=1; $(MAKE) --no-print-directory integration || rc=1; exit $$rc

UNIT_PACKAGES = $$($(GO) list -tags "$(TAGLIST)" ./... | grep -v '^bryo/integration')
.PHONY: unit
unit: $(EMBEDDED) ## unit tests: no privilege, no network
	$(GO) test -json -tags "$(TAGLIST)" $(TESTFLAGS) $(UNIT_PACKAGES) | $(GO) run ./integration/report -name unit

.PHONY: integration
integration: build ## script tests of the built ./bryo as plain users
	BRYO_BIN=$(CURDIR)/bryo $(GO) test -json -count=1 -timeout 30m -tags "$(TAGLIST)" $(TESTFLAGS) ./integration/... \
	    | $(GO) run ./integration/report -name integration

.PHONY: bench
bench: build ## all measurements against podman, crun, runc, bwrap and skopeo (BENCHFLAGS=-short: 3 minutes, no pulls)
	BRYO_BIN=$(CURDIR)/bryo $(GO) run ./integration/bench $(BENCHFLAGS)
	@case '$(BENCHFLAGS)' in *-short*|*-only*) ;; *) $(MAKE) --no-print-directory bench-pull BENCHFLAGS=;; esac

.PHONY: bench-pull
bench-pull: build ## pull and save against podman and skopeo, and their trees entry by entry
	BRYO_BIN=$(CURDIR)/bryo $(GO) run ./integration/bench/pull $(BENCHFLAGS)

.PHONY: bench-network
bench-network: build ## throughput, latency, rate, published ports, start and memory against slirp4netns, pasta and RootlessKit
	@dir=$$(mktemp -d /var/tmp/bryo-bench-XXXXXX); trap 'rm -rf $$dir' EXIT; chmod 755 $$dir; \
	$(GO) build -tags "$(TAGLIST)" -o $$dir/netbench ./network/bench; install -m 0755 bryo $$dir/bryo; \
	if [ "$$(id -u)" = 0 ]; then integration/users; user="runuser -u bryo-test -- env HOME=$$(getent passwd bryo-test | cut -d: -f6)"; fi; cd $$dir; \
	$${user:-} env BRYO_BIN=$$dir/bryo ./netbench $(BENCHFLAGS)

EASYJSON := github.com/mailru/easyjson/easyjson@v0.9.2
CODED := internal/linux rootfs/image internal/state internal/supervisor
.PHONY: generate
generate: ## write the json.gen.go again, after a change to a type that is marked with easyjson:json
	@dir=$$(mktemp -d); trap 'rm -rf $$dir' EXIT; GOBIN=$$dir GOFLAGS= $(GO) install $(EASYJSON); \
	PATH=$$dir:$$PATH TAGLIST="$(TAGLIST)" GOFLAGS=-mod=mod internal/codec/generate $(CODED)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Errors that users see are in the words of docker, with their capitals and full stops.
CHECKS := inherit,-ST1005
.PHONY: lint
lint: $(EMBEDDED) ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted" >&2; exit 1; }
	$(GO) vet -tags "$(TAGLIST)" ./...
	$(GO) run $(STATICCHECK) -checks $(CHECKS) -tags "$(TAGLIST)" ./...

.PHONY: install
install: build ## copy ./bryo to DESTDIR/PREFIX/bin
	install -D -m 0755 bryo $(DESTDIR)$(PREFIX)/bin/bryo

.PHONY: man
man: build ## write the manual pages to ./man
	./bryo man man

.PHONY: clean
clean: ## remove what the build made
	rm -rf bryo man sandbox/laststage/bin/laststage-* internal/supervisor/rest/bin/rest-* internal/images/program/bin/images-*

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
