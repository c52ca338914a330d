# Verge: `make demo` shows it, `make test` checks it. Both install the Debian packages they miss.

CARGO ?= cargo
# What a machine with Rust, git and make may still lack, as COMMAND:PACKAGE.
DEMO_TOOLS := cc:build-essential ssh:openssh-client ssh-keygen:openssh-client git:git
TEST_TOOLS := $(DEMO_TOOLS) c++:build-essential curl:curl mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs \
              xfs_io:xfsprogs losetup:mount strace:strace faketime:faketime knotd:knot \
              pebble:pebble pebble-challtestsrv:pebble \
              ip:iproute2 nft:nftables openssl:openssl hledger:hledger
# Real websites, as FILE:PACKAGE. The folder of sqlite3-doc is also that of another package.
TEST_SITES := /usr/share/doc/git-doc/git.html:git-doc /usr/share/doc/sqlite3/index.html:sqlite3-doc
PROVE_SITES := /usr/share/doc/debian-handbook/html:debian-handbook

# What the conformance tests ask: real visitors, and linters of answers.
CONFORMANCE_TOOLS := dpkg:dpkg /usr/share/doc/python3-venv:python3-venv h2load:nghttp2-client \
                     slowhttptest:slowhttptest chromium:chromium chromedriver:chromium-driver \
                     node:nodejs npm:npm testssl:testssl.sh

.PHONY: help demo test prove sim attack-sim soak fuzz fuzz-check audit format lint docs bench bench-quick bench-nodes bench-build clean setup-demo \
        setup-test setup-conformance setup-prove

help:
	@echo "make demo          a whole region on this machine: push a site, fetch its pages"
	@echo "make demo ONCE=1   the same, ends by itself"
	@echo "make test          format, lints, tests, docs, licences and dependencies"
	@echo "make prove         the same tests with the large counts, and make fuzz"
	@echo "make sim SEEDS=N   a region in virtual time, from N seeds"
	@echo "make attack-sim    what a provider gains that lies about what it served, as a table"
	@echo "make soak MINUTES=20  eight nodes, random faults: all must serve the same, memory must not grow"
	@echo "make fuzz          every parser, guided by coverage: 10,000,000 runs or 10 minutes each"
	@echo "make audit         licences, bans and sources by cargo-deny, if it is installed"
	@echo "make bench         figures: see benches/README.md"
	@echo "make bench-nodes   nodes with many sites, made once for make bench"
	@echo "make bench-quick   what a visit costs beside other servers, in a few minutes"

demo: setup-demo
	$(CARGO) build --locked --bin verge
	$(CARGO) run --locked -q --bin verge -- demo $(if $(ONCE),--once --https-port 0 --ssh-port 0)

test: setup-test setup-conformance format lint
	$(CARGO) test --locked --workspace
	$(MAKE) fuzz-check docs

# What must hold of every month, in a million months each.
SHARES = attribution::invariants attribution::lr attribution::cap attribution::units \
	accounting::seal::merge

prove: export VERGE_POWER_CUTS = 100
prove: export VERGE_KILLS = 200
prove: export VERGE_DEPLOYS = 1000
prove: export VERGE_CUTS = 10
prove: export VERGE_PROVE = 1
prove: export VERGE_ORACLE_CASES = 100000
prove: export PROPTEST_CASES = 10000
prove: setup-test setup-conformance setup-prove
	$(CARGO) test --locked --workspace
	PROPTEST_CASES=1000000 $(CARGO) test --locked --workspace --lib -- $(SHARES)
	$(MAKE) fuzz

fuzz: setup-test
	CARGO="$(CARGO)" fuzz/run 10000000 600

# A region in virtual time, from so many seeds.
sim:
	VERGE_SEEDS=$(or $(SEEDS),1000) $(CARGO) test --locked --workspace --test simulation

# Months with somebody who lies, so many for each line of the table.
attack-sim:
	VERGE_ATTACK_SEEDS=$(or $(SEEDS),20) $(CARGO) test --locked --workspace --test attack_sim -- --nocapture

# A region of eight nodes in namespaces (as root), for so long; VERGE_SEED repeats what was done.
soak: setup-test
	VERGE_SOAK_MINUTES=$(or $(MINUTES),20) $(CARGO) test --locked --workspace --test region -- \
	  --nocapture a_region_lives_through_random_faults

format:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check

lint:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

# That it still compiles: its parsers run in `make test` on plain mutations. With the profiles of the
# workspace no dependency is built a second time.
fuzz-check:
	$(CARGO) check --locked --manifest-path fuzz/Cargo.toml --config Cargo.toml --target-dir target

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet

audit:
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: cargo install cargo-deny --locked"; exit 1; }
	cargo deny check licenses bans sources
	@if [ -d "$${CARGO_HOME:-$$HOME/.cargo}/advisory-dbs" ]; then cargo deny check advisories; \
	else echo "advisories: no database on this machine, not checked"; fi

bench: bench-build setup-conformance
	@.ci/install rsync:rsync brotli:brotli strace:strace valgrind:valgrind setpriv:util-linux
	benches/run

# What a visit costs beside nginx and h2o, in a few minutes.
bench-quick: bench-build
	benches/against/run --parts cost --rounds 3 --seconds 0.15 --servers nginx h2o hyper raw verge

# Nodes with 1,000 and with 5,000 sites, kept in target/bench-nodes for all later runs: 25 minutes.
bench-nodes: bench-build
	benches/board/run --parts start

bench-build: setup-demo
	@.ci/install h2load:nghttp2-client openssl:openssl curl:curl ip:iproute2 \
	  /usr/share/doc/git-doc/git.html:git-doc /usr/share/doc/python3-venv:python3-venv
	@CARGO="$(CARGO)" .ci/bench-peers
	$(CARGO) build --locked --release --workspace --bin verge --examples

setup-demo:
	@.ci/install $(DEMO_TOOLS)

setup-test:
	@.ci/install $(TEST_TOOLS) $(TEST_SITES)

setup-conformance:
	@.ci/install $(CONFORMANCE_TOOLS)
	@.ci/conformance

setup-prove:
	@.ci/install $(PROVE_SITES)

clean:
	$(CARGO) clean
