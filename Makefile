# moonsand. CMake builds; this file only knows the ways to call it.

BUILD ?= build
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
CMAKE_FLAGS ?=
FILTER ?=
FUZZ_SECONDS ?= 30
SUBJECT ?=

SHELL := /bin/bash
LUA_ENV = . tools/env.sh && ms_env "$(abspath $(BUILD))"
# Recipes start programs that read no standard input; a filter is passed on only when there is one.
FILTER_FLAG = $(if $(FILTER),--filter '$(FILTER)')

.PHONY: help deps build demo test test-c test-lua asan valgrind fuzz lint format bench install rock engines clean distclean

help:
	@echo 'make build      the library, the agent and the Lua module, in $(BUILD)/'
	@echo 'make demo       build, then run examples/demo.lua'
	@echo 'make test       everything: C tests, fuzz corpora, specs on a private Docker and a private Podman'
	@echo 'make test-c     the C tests only         make test-lua   the specs only    (FILTER=text narrows both)'
	@echo 'make asan       all tests with AddressSanitizer and UBSan, in build-asan/'
	@echo 'make valgrind   all tests under valgrind'
	@echo 'make fuzz       libFuzzer, FUZZ_SECONDS=$(FUZZ_SECONDS) a target (FILTER=text narrows), in build-fuzz/'
	@echo 'make lint       format, luacheck, house rules      make format   mends the format'
	@echo 'make bench      moonsand beside docker run, docker-py and podman run   (SUBJECT=runs: only bench/runs.lua)'
	@echo 'make install    into PREFIX=$(PREFIX) (DESTDIR is honoured)      make rock   into ./lua_modules by LuaRocks'
	@echo 'make engines    starts the private engines; tools/engines.sh down ends them'
	@echo 'make deps       the Debian packages for building; the targets above install what they need themselves'
	@echo 'make clean      removes what was compiled      make distclean   removes all build directories, images too'

deps:
	@tools/deps.sh build

define cmake-build
cmake -S . -B $(1) -DCMAKE_INSTALL_PREFIX=$(PREFIX) $(2) $(CMAKE_FLAGS) >$(1).log 2>&1 || { cat $(1).log; exit 1; }; rm -f $(1).log
cmake --build $(1) -j $(JOBS) -- --no-print-directory
endef

build: deps
	@mkdir -p $(BUILD)
	$(call cmake-build,$(BUILD),)

demo:
	@tools/deps.sh demo
	@$(MAKE) --no-print-directory build
	@$(LUA_ENV) && exec lua5.4 examples/demo.lua

test:
	@tools/deps.sh test
	@$(MAKE) --no-print-directory build
	@tools/test.sh --build $(BUILD) $(FILTER_FLAG)

test-c: build
	@tools/test.sh --build $(BUILD) --c $(FILTER_FLAG)

test-lua:
	@tools/deps.sh test
	@$(MAKE) --no-print-directory build
	@tools/test.sh --build $(BUILD) --lua $(FILTER_FLAG)

build-asan:
	@tools/deps.sh test
	@mkdir -p build-asan
	$(call cmake-build,build-asan,-DMS_SANITIZE=ON -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=-O1)
.PHONY: build-asan

asan: build-asan
	@tools/test.sh --build build-asan --asan $(FILTER_FLAG)

valgrind:
	@tools/deps.sh test
	@$(MAKE) --no-print-directory build
	@tools/test.sh --build $(BUILD) --valgrind $(FILTER_FLAG)

fuzz:
	@tools/deps.sh test
	@mkdir -p build-fuzz
	$(call cmake-build,build-fuzz,-DMS_FUZZ=ON -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=-O1)
	@for source in core/fuzz/fuzz_*.c lua/fuzz/*.lua; do \
	    name=$$(basename $${source%.*}); program=$$name; name=$${name#fuzz_}; \
	    case $$source in lua/*) program=fuzz_lua_$$name ;; esac; \
	    case $$program in *'$(FILTER)'*) ;; *) continue ;; esac; \
	    echo "== $$program"; \
	    mkdir -p build-fuzz/corpus/$$program; \
	    build-fuzz/fuzz/$$program -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=build-fuzz/ \
	        build-fuzz/corpus/$$program $$(dirname $$source)/corpus/$$name || exit 1; \
	done

lint:
	@tools/deps.sh test
	@tools/lint.sh

format:
	@find core lua -name '*.[ch]' | xargs -r clang-format -i

bench:
	@tools/deps.sh bench
	@$(MAKE) --no-print-directory build
	@tools/bench.sh $(BUILD) $(SUBJECT)

install: build
	cmake --install $(BUILD) --prefix $(PREFIX)

rock:
	@tools/deps.sh test
	LUAROCKS_CONFIG=tools/rocks-provided.lua luarocks --lua-version=5.4 make --tree lua_modules moonsand-scm-1.rockspec

engines:
	@tools/deps.sh test
	@tools/engines.sh up

clean:
	@for d in $(BUILD) build-asan build-fuzz; do \
	    if [ -f $$d/Makefile ]; then cmake --build $$d --target clean -- --no-print-directory; fi; \
	done
	rm -rf build.luarocks

distclean:
	@tools/engines.sh down
	rm -rf $(BUILD) build build-asan build-fuzz build.luarocks lua_modules
