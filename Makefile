# make study   install what is missing, build, fetch MNIST, train the networks, print and write the comparison
# make test    install what is missing, build, run every test that this machine can run
# make clean   remove the builds; data and finished runs stay
#
# Variables: EPOCHS=20  SEEDS=1  PRESET=release (or asan, debug)  EVENKEEL_DATA=DIR

EPOCHS ?= 20
SEEDS ?= 1
PRESET ?= release
BUILD := build/$(PRESET)
export EVENKEEL_DATA ?= $(CURDIR)/data/mnist
STUDY := runs/study-$(EPOCHS)ep

.PHONY: study test build setup clean

study: build
	@scripts/get_mnist.sh "$(EVENKEEL_DATA)"
	@$(BUILD)/apps/compare_norms --epochs $(EPOCHS) --seeds $(SEEDS) --out $(STUDY)

test: build
	@scripts/get_mnist.sh "$(EVENKEEL_DATA)" || echo "MNIST is not here: the tests that need it are skipped"
	@ctest --test-dir $(BUILD) --output-on-failure --parallel $(shell nproc) --output-log $(BUILD)/ctest.log
	@echo "All tests passed; the log is $(BUILD)/ctest.log"

build: setup
	@cmake --preset $(PRESET) > $(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@cmake --build --preset $(PRESET)

setup:
	@scripts/setup.sh
	@mkdir -p build

clean:
	@rm -rf build
