# SPDX-License-Identifier: Apache-2.0
# make demo   sets everything up and shows the default model on the host and on a board in QEMU
# make test   sets everything up and runs every check
# make wheel  build/wheel/narrows-*.whl, with the firmware of all boards
# make wheels the same for every platform, with Zig's compiler; make dist  packages for C, in build/dist
# make docs   build/docs/index.html, the documentation
# make lint   style and types only          make clean   removes what make made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD := build/tests
# make test EXTRAS=test,docs,torch,labgrid also tests what PyTorch exports, and farms of boards
EXTRAS ?= test,docs
JOBS ?= 2
RP2040JS := build/node/node_modules/rp2040js

c_sources := $(shell find runtime pyfront/narrows/native -name '*.[ch]')
stamp := $(VENV)/.installed
test_stamp := $(VENV)/.installed-tests

.PHONY: demo test docs lint clean tools emulators wheel wheels dist
.DELETE_ON_ERROR:

demo: $(stamp) tools
	@$(BIN)/python -c 'import tflite_micro' 2>/dev/null || \
	    $(BIN)/pip install --quiet 'tflite-micro>=0.dev20240101' || true
	$(BIN)/python -m narrows.demo

test: lint emulators
	$(BIN)/cmake -S . -B $(BUILD) -DNARROWS_TESTS=ON -DCMAKE_BUILD_TYPE=Release
	$(BIN)/cmake --build $(BUILD) --parallel $(JOBS)
	$(BIN)/ctest --test-dir $(BUILD) --output-on-failure --timeout 3600 \
	    --no-tests=error
	$(BIN)/python -m pytest tests --numprocesses $(JOBS) --dist worksteal \
	    --durations=40 --durations-min=5

docs: $(stamp)
	$(BIN)/python -c 'import furo, myst_parser, sphinx_argparse_cli, sphinx_copybutton' \
	    2>/dev/null || $(BIN)/pip install --quiet --editable '.[docs]'
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs

# With the firmware of every board, so that who installs it needs no compiler for them.
wheel: $(stamp) tools
	$(BIN)/python -m narrows.link.shipped build/firmware-images
	$(BIN)/python packaging/wheels.py native --images build/firmware-images

wheels: $(stamp) tools
	$(BIN)/pip install --quiet --editable '.[release]'
	$(BIN)/python -m narrows.link.shipped build/firmware-images
	$(BIN)/python packaging/wheels.py --images build/firmware-images

dist: $(stamp)
	$(BIN)/python packaging/dist.py

lint: $(test_stamp)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f pyfront/narrows/native/_runtime.so

# The package in place: changed Python counts at once, changed C is built again here.
$(stamp): pyproject.toml CMakeLists.txt $(c_sources) | $(BIN)/pip
	$(BIN)/pip install --quiet --editable .
	touch $@

$(test_stamp): $(stamp)
	$(BIN)/pip install --quiet --editable '.[$(EXTRAS)]' cmake
	touch $@

# Debian's python3 comes without venv: installed if it can be, else the error says how.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "Python 3.10 or newer is needed: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/install-tools python-venv=python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

# A cross compiler and an emulator for the demo, if they can be had; the host works without.
tools:
	@.ci/install-tools qemu-system-arm=qemu-system-arm \
	    arm-none-eabi-gcc=gcc-arm-none-eabi,libnewlib-arm-none-eabi

# And what all boards need.
emulators: tools
	@.ci/install-tools qemu-system-riscv32=qemu-system-misc \
	    riscv64-unknown-elf-gcc=gcc-riscv64-unknown-elf node=nodejs npm=npm openocd=openocd \
	    chromium=chromium,chromium-driver \
	    aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu,libc6-dev-arm64-cross \
	    qemu-aarch64=qemu-user
	@$(MAKE) --silent $(RP2040JS) || \
	    echo "going on without rp2040js: no Raspberry Pi Pico is emulated" >&2

# An emulator of the Pico; the version stands beside what runs it.
$(RP2040JS): pyfront/narrows/link/rp2040/package.json
	mkdir -p build/node
	cp $< build/node/package.json
	npm install --silent --no-audit --no-fund --prefix build/node
	touch $@
