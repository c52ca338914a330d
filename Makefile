# Verge: `make demo` shows it, `make test` checks it. Both install the Debian packages they miss.

CARGO ?= cargo
# What a machine with Rust, git and make may still lack, as COMMAND:PACKAGE.
DEMO_TOOLS := cc:build-essential ssh:openssh-client ssh-keygen:openssh-client git:git
TEST_TOOLS := $(DEMO_TOOLS) curl:curl mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs xfs_io:xfsprogs \
              losetup:mount strace:strace faketime:faketime
# Real websites, as FILE:PACKAGE. The folder of sqlite3-doc is also that of another package.
TEST_SITES := /usr/share/doc/git-doc/git.html:git-doc /usr/share/doc/sqlite3/index.html:sqlite3-doc
# Netlify's own matcher of rules, which ours is compared with.
CONFORMANCE_TOOLS := node:nodejs npm:npm
NETLIFY := netlify-redirector@0.5.0
CONFORMANCE := target/conformance
PROVE_SITES := /usr/share/doc/debian-handbook/html:debian-handbook

.PHONY: help demo test prove audit format lint docs bench clean setup-demo setup-test setup-conformance setup-prove

help:
	@echo "make demo          a whole region on this machine: push a site, fetch its pages"
	@echo "make demo ONCE=1   the same, ends by itself"
	@echo "make test          format, lints, tests, docs, licences and dependencies"
	@echo "make prove         the same tests with the large counts"
	@echo "make audit         licences, bans and sources by cargo-deny, if it is installed"
	@echo "make bench         figures: see benches/README.md"

demo: setup-demo
	$(CARGO) build --locked --bin verge
	$(CARGO) run --locked -q --bin verge -- demo $(if $(ONCE),--once --https-port 0 --ssh-port 0)

test: setup-test setup-conformance format lint
	$(CARGO) test --locked --workspace
	$(MAKE) docs

prove: export VERGE_POWER_CUTS = 100
prove: export VERGE_KILLS = 200
prove: export VERGE_DEPLOYS = 1000
prove: export VERGE_PROVE = 1
prove: export VERGE_ORACLE_CASES = 100000
prove: export PROPTEST_CASES = 10000
prove: setup-test setup-conformance setup-prove
	$(CARGO) test --locked --workspace

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet

audit:
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: cargo install cargo-deny --locked"; exit 1; }
	cargo deny check licenses bans sources
	@if [ -d "$${CARGO_HOME:-$$HOME/.cargo}/advisory-dbs" ]; then cargo deny check advisories; \
	else echo "advisories: no database on this machine, not checked"; fi

bench: setup-demo
	$(CARGO) build --locked --release --bin verge
	benches/run

setup-demo:
	@.ci/install $(DEMO_TOOLS)

setup-test:
	@.ci/install $(TEST_TOOLS) $(TEST_SITES)

# The file of the release's name says that its installation was complete.
setup-conformance:
	@.ci/install $(CONFORMANCE_TOOLS)
	@[ -f $(CONFORMANCE)/netlify/$(NETLIFY) ] || { mkdir -p $(CONFORMANCE)/netlify && \
	npm install --prefix $(CONFORMANCE)/netlify --no-audit --no-fund --loglevel error $(NETLIFY) && \
	touch $(CONFORMANCE)/netlify/$(NETLIFY); }

setup-prove:
	@.ci/install $(PROVE_SITES)

clean:
	$(CARGO) clean
