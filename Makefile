# make study        install what is missing, build the two programs that the study runs, fetch MNIST, train the networks, print
#                   the comparison and write the report; if you stop it, the same command continues it
# make test         install what is missing, build, run every test that this machine can run: on the CPU and, if there is one,
#                   on the GPU; then the CUDA kernels on the SIMT executor, which needs no GPU
# make test-all     run the tests that take hours: the two commands above in a bare Debian, long fuzzing, hundreds of killed
#                   runs (docs/development.md)
# make full-study   make the study of docs/study.md: with and without L1, several batch sizes, ten seeds; takes hours
# make clean        remove the builds; data and finished runs stay
#
# Variables: EPOCHS=20  SEEDS=1  DATASET=mnist (or fashion)  EVENKEEL_DATA=DIR (folder of the data set)
#            ARGS="..." (more options of compare_norms)
#            PRESETS="release emulated" (the presets of CMakePresets.json that are tested)  TESTS=REGEX (run only these tests)

EPOCHS ?= 20
SEEDS ?= 1
DATASET ?= mnist
PRESETS ?= release emulated
ifeq ($(value EVENKEEL_DATA),)
override EVENKEEL_DATA := $(CURDIR)/data/$(DATASET)
endif
# As it was given, to programs and, as "$$EVENKEEL_DATA", to recipes: neither make nor the shell reads a name's $ or ".
override EVENKEEL_DATA := $(value EVENKEEL_DATA)
export EVENKEEL_DATA
# Builds of one checkout share what they compile alike, where there is ccache.
export CCACHE_BASEDIR ?= $(CURDIR)

.PHONY: study full-study test test-all setup clean

study: TARGETS = compare_norms train_mnist
study: build-release
	@scripts/get_data.sh $(DATASET) "$$EVENKEEL_DATA"
	@build/release/apps/compare_norms --dataset $(DATASET) --epochs $(EPOCHS) --seeds $(SEEDS) $(ARGS)

full-study:
	@$(MAKE) --no-print-directory study SEEDS=10 \
	  ARGS="--penalties off,subgradient,proximal --batch-sizes 64,16,4,2 $(ARGS)"

test: setup
	@scripts/get_data.sh mnist "$$EVENKEEL_DATA" || echo "MNIST is not here: the tests that need it are skipped"
	@for preset in $(PRESETS); do $(MAKE) --no-print-directory test-$$preset || exit 1; done
	@grep -q 'tests passed' $(PRESETS:%=build/%/ctest.log) || { echo "No test has a name like $(value TESTS)" >&2; exit 1; }
	@for preset in $(PRESETS); do scripts/skipped_tests.sh build/$$preset; done
	@echo "All tests passed; the logs are $(PRESETS:%=build/%/ctest.log)"

test-%: build-%
	@ctest --preset $* --parallel $(shell nproc) --output-log build/$*/ctest.log $(if $(value TESTS),--tests-regex '$(value TESTS)')

test-all:
	@tests/test_all.sh

build-%: setup
	@cmake --preset $* > build/$*.log 2>&1 || { cat build/$*.log; exit 1; }
	@cmake --build --preset $* $(if $(TARGETS),--target $(TARGETS))

setup:
	@scripts/setup.sh
	@mkdir -p build

clean:
	@rm -rf build
