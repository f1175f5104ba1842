# The commands for people and the CI. `make` without a target prints this list.
.DEFAULT_GOAL := help
SHELL := /bin/bash

# The place where Go's own installer puts it, if it is not in PATH.
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin
# The version comes from git describe below; Go's own stamping fails if
# git does not trust the owner of the directory (containers).
export GOFLAGS := $(GOFLAGS) -buildvcs=false
# libguestfs starts QEMU by itself, without a libvirt daemon.
export LIBGUESTFS_BACKEND := direct

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
GO_DIRECTORIES := cmd guest plan testimages .ci
# ./... does not include directories that begin with a dot.
CI_PACKAGES := ./.ci/imports ./.ci/setup ./.ci/guest
FUZZTIME ?= 30s
# Options for go test, e.g. make test TEST='-run TestGrow -v'
TEST ?=

.PHONY: help deps deps-demo deps-test binding build man deb rpm test test-all test-debian test-host lint fuzz bench bench-batch bench-files bench-online bench-outage demo demo-fleet clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what building and running need, check Go, prepare the libguestfs binding
	@.ci/deps run

deps-demo:
	@.ci/deps demo

deps-test:
	@.ci/deps test

binding:
	@.ci/deps binding

build: binding ## bin/virt-grow
	CGO_ENABLED=1 go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/virt-grow ./cmd/virt-grow

# The date of the pages is that of the sources.
man: build ## the manual pages, in bin/man
	mkdir -p bin/man
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH-$$(git log -1 --format=%ct)} bin/virt-grow manual-pages bin/man

# The older ones are removed: .ci/fresh takes the only one.
deb: binding ## bin/virt-grow_VERSION_ARCH.deb
	rm -f bin/virt-grow_*.deb
	@cmd/package/build deb

rpm: binding ## bin/virt-grow-VERSION.ARCH.rpm
	rm -f bin/virt-grow-*.rpm
	@cmd/package/build rpm

# Two packages at a time: an emulated appliance takes about one processor.
test: deps-test ## the test suite, also on a new machine; at most 15 minutes
	go test -count=1 -p 2 -timeout 30m $(TEST) ./...

# The other packages have no more tests than in make test. LONG=all runs
# every point of the kill and fault tests, and more formats: 3 hours.
LONG ?= 1
test-all: deps-test ## the long matrices
	VIRT_GROW_LONG=$(LONG) go test -count=1 -p 2 -timeout $(if $(filter all,$(LONG)),4h,80m) $(TEST) ./guest ./guest/appliance ./cmd/virt-grow ./plan/superblock ./testimages

# Not in the suite: it needs root, loop devices and Debian's archive.
test-debian: deps-test ## grow and boot two real Debians, made on demand: without KVM 15 minutes
	VIRT_GROW_LONG=debian go test -count=1 -timeout 60m -run TestDebian -v ./cmd/virt-grow

test-host: deps-demo build deb ## a host with AppArmor (HOST=selinux: SELinux) as a virtual machine: without KVM an hour or more
	@.ci/host $(HOST)

test-ansible: build ## the Ansible collection: modules, a guest in a private libvirt, two hosts over ssh
	@.ci/deps ansible
	@.ci/ansible

lint: binding ## gofmt, go vet, staticcheck, import directions
	@unformatted=$$(gofmt -l $(GO_DIRECTORIES)); if [ -n "$$unformatted" ]; then echo "gofmt -w:" $$unformatted >&2; exit 1; fi
	go vet ./... $(CI_PACKAGES)
	go run $(STATICCHECK) ./... $(CI_PACKAGES)
	go test ./.ci/imports ./.ci/setup
	go run ./.ci/imports

fuzz: binding ## every fuzz target for FUZZTIME (30s)
	@.ci/fuzz $(FUZZTIME)

bench: deps-test build ## times and sizes, compared with guestfish and virt-resize
	@.ci/bench

bench-online: deps-test build ## growing a running guest's disk, compared with virsh and the agent by hand
	@.ci/bench-online

bench-outage: deps-test build ## how long a guest is away, compared with a restart and scripts
	@.ci/bench-outage

bench-batch: deps-test build ## six guests in one batch, compared with a loop over grow: without KVM half an hour a round
	@.ci/bench-batch

bench-files: deps-test build ## how long a guest is away when its data disk has many files
	@.ci/bench-files

demo: deps-demo build ## grow two disks as a demonstration, also on a new machine
	@.ci/demo

demo-fleet: deps-demo build ## six guests, from df to the record of the change: without KVM twenty minutes
	@.ci/demo-fleet

clean: ## remove what was built
	rm -rf bin third_party
