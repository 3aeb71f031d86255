# make study   install what is missing, build, fetch MNIST, train the networks, print and write the comparison;
#              stopped, it goes on with the same command
# make test    install what is missing, build, run every test that this machine can run: the CPU and, where there is one,
#              the GPU; then the CUDA kernels on the SIMT executor, which needs no GPU
# make clean   remove the builds; data and finished runs stay
#
# Variables: EPOCHS=20  SEEDS=1  PRESETS="release emulated" (of CMakePresets.json, to test)  EVENKEEL_DATA=DIR

EPOCHS ?= 20
SEEDS ?= 1
PRESETS ?= release emulated
export EVENKEEL_DATA ?= $(CURDIR)/data/mnist
STUDY := runs/study-$(EPOCHS)ep

.PHONY: study test setup clean

study: build-release
	@scripts/get_mnist.sh "$(EVENKEEL_DATA)"
	@build/release/apps/compare_norms --epochs $(EPOCHS) --seeds $(SEEDS) --out $(STUDY)

test: setup
	@scripts/get_mnist.sh "$(EVENKEEL_DATA)" || echo "MNIST is not here: the tests that need it are skipped"
	@for preset in $(PRESETS); do $(MAKE) --no-print-directory test-$$preset || exit 1; done
	@echo "All tests passed; the logs are $(PRESETS:%=build/%/ctest.log)"

test-%: build-%
	@ctest --preset $* --parallel $(shell nproc) --output-log build/$*/ctest.log

build-%: setup
	@cmake --preset $* > build/$*.log 2>&1 || { cat build/$*.log; exit 1; }
	@cmake --build --preset $*

setup:
	@scripts/setup.sh
	@mkdir -p build

clean:
	@rm -rf build
