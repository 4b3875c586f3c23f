# What a person runs, and what CI runs: the same targets. `make help` lists them.

CARGO    ?= cargo
PREFIX   ?= /usr
DESTDIR  ?=
VERSION  := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
TARGET   := $(or $(CARGO_TARGET_DIR),target)
RELEASE  := $(TARGET)/release
FUZZ_SECONDS ?= 20
MODEL_SIZE ?= medium
SEEDS    ?= 200
HOURS    ?= 1
SUITE    ?= bookworm
STORAGE  ?= nfs
HOST     ?= host-1
LAB      := $(RELEASE)/leasefence-lab --suite $(SUITE)
NEXTEST  := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)

.PHONY: lab-program help build demo test bench verify fix model install tree deb deb-test rpm rpm-test security lab lab-full lab-up lab-down lab-shell fuzz sim soak mutants clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

build: ## release binaries
	$(CARGO) build --release -p leasefence-agent -p leasefence-cli
	$(CARGO) rustc --release -p leasefence-fencer -- -C target-feature=+crt-static
	$(CARGO) rustc --release -p leasefence-hook --bin leasefence-hook -- -C target-feature=+crt-static

demo: ## three hosts on this machine, and three ways to lose one (root; installs what is missing)
	tools/demo/run

test: verify ## all checks and all tests; the ones on real libvirt and QEMU need root
	packaging/needs build test
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --workspace
else
	$(CARGO) test --workspace
endif
	tools/fuzz/run $(FUZZ_SECONDS)

bench: ## measures what the hook costs a start, on real libvirt (root); asserts nothing
	packaging/needs build test
	$(CARGO) bench -p leasefence-tests --bench hook_times

verify: ## format, lints, structure, and a small model check; writes nothing
	packaging/needs build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	packaging/verify-arrows
	$(CARGO) run --release -p leasefence-model -- all

fix: ## format and apply what clippy can
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged

lab: lab-program ## virtual hypervisors with NFS and iSCSI: what CI runs of it (root; installs what is missing)
	$(LAB) run --ci

lab-full: lab-program ## all scenarios on both storages (SUITE=trixie for Linux 6.12; NFS or iSCSI alone: see tests/lab)
	$(LAB) run

lab-up: lab-program ## the lab to look around in: four machines, a cluster, a guest (STORAGE=iscsi)
	$(LAB) up --storage $(STORAGE)

lab-down: ## ends the lab and all its machines
	test ! -x $(RELEASE)/leasefence-lab || $(LAB) down

lab-shell: ## a shell in it (HOST=host-1, host-2, host-3 or storage)
	@$(LAB) shell $(HOST)

lab-program:
	LEASEFENCE_INSTALL=yes packaging/needs build deb lab
	$(MAKE) --no-print-directory deb
	$(CARGO) build --release -p leasefence-lab

fuzz: ## mutate lease files (FUZZ_SECONDS=600 for ten minutes)
	tools/fuzz/run $(FUZZ_SECONDS)

sim: ## attack the core with faults in virtual time (SEEDS=1000 for more)
	$(CARGO) run --release -p leasefence-sim -- --seeds $(SEEDS)

soak: ## the same with new seeds, for HOURS=1
	$(CARGO) run --release -p leasefence-sim -- --random --for $(HOURS)h

model: ## search the core exhaustively, medium size (MODEL_SIZE=large for hours)
	$(CARGO) run --release -p leasefence-model -- all --size $(MODEL_SIZE)

mutants: ## plant every bug of PROTOCOL 7, and show that the simulator finds it
	tools/sim/no-planted-bugs
	$(CARGO) run --profile mutants --features planted-bugs -p leasefence-sim -- --mutants

install: build ## into DESTDIR, below PREFIX
	packaging/install "$(RELEASE)" "$(DESTDIR)" "$(PREFIX)"

tree:
	rm -rf dist/tree
	$(MAKE) --no-print-directory install DESTDIR="$(CURDIR)/dist/tree" PREFIX=/usr

deb: tree ## dist/leasefence_VERSION_ARCH.deb
	packaging/needs deb
	packaging/deb/build "$(VERSION)" dist/tree

deb-test: deb ## the package: lintian, its life in a chroot, an upgrade under a running guest (root)
	packaging/deb/test dist/leasefence_$(VERSION)_*.deb
	packaging/deb/upgrade dist/leasefence_$(VERSION)_*.deb

rpm: tree ## dist/leasefence-VERSION-1.ARCH.rpm, also on Debian
	packaging/needs rpm
	packaging/rpm/build "$(VERSION)" dist/tree

rpm-test: rpm ## the package: rpmlint, and its life in a chroot (root)
	packaging/rpm/test dist/leasefence-$(VERSION)-1.*.rpm

security: ## what systemd's analysis says of the units
	systemd-analyze security --offline=true --no-pager packaging/systemd/*.service

clean: ## removes what was built
	$(CARGO) clean
	rm -rf dist
