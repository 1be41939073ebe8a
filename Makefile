# Everything a person or CI runs. Each target sets up what it needs; a second run starts in seconds.
#
#   make demo       clone a voice, speak with it, list it; says where the audio is
#   make serve      the HTTP server on this machine, with its page and OpenAI's speech API: http://127.0.0.1:8000
#   make test       all tests but the slow ones, under 12 minutes on two cores
#   make browser    install Chromium by apt, for the tests of the page; without it they are left out
#   make test-slow  full-size parity with upstream and long bad days; 12 GB of memory, up to 45 minutes
#   make test-clients  other people's clients against a worker with the small model and against the bridge, made-up requests; downloads them
#   make test-cuda  the tests that need a GPU
#   make bench      every benchmark that this machine can run; an hour on two cores, 35 GB of disk
#   make faults     what is lost when the voice store is killed, refused or crowded, in full, as a table
#   make fuzz       made-up bytes: five minutes for the reader of voice files, five for those of recordings
#   make hear       what is heard of speech from CHECKPOINT_DIR or the small model, and of flite's, if it is installed
#   make small-model  train samples/small from nothing, or one stage of it with STAGE=...; needs flite; hours
#   make soak       two workers, 2,000 jobs, 20 kills: what is lost, what grows; half an hour on two cores
#   make lint       ruff and mypy
#   make workflows  check .github by GitHub's schemas and for what is unsafe; downloads zizmor
#   make lock       compile requirements.in into requirements.txt
#   make load-balancer-listing  the Hub's second repository, from IMAGE=registry/name:tag, packed in out/packages
#   make client-package  what `pip install` takes of client/, in out/packages
#   make icon       draw icon.png from icon.svg

SHELL := /bin/bash
PYTHON ?= $(shell scripts/find_python)
PY := .venv/bin/python
UV := .venv/bin/uv
RUN_LOCK := requirements.txt
DEV_LOCK := requirements-dev.txt
CLIENTS := openai-1 openai-2 openai-3 openai-js livekit pipecat wyoming schemathesis
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make lock"

.PHONY: browser demo serve test test-slow test-clients test-cuda bench faults fuzz hear small-model soak lint workflows lock load-balancer-listing client-package icon clean

export CHECKPOINT_DIR MODEL

HEAR ?= --checkpoint "$(or $(CHECKPOINT_DIR),samples/small)" --voice samples/reference.flac $(if $(shell command -v flite),--teacher --stages) --script --json out/hear.json

demo: .venv/installed
	$(PY) -m scripts.demo

serve: .venv/installed
	ENDPOINT_MODE=http $(PY) handler.py

test: .venv/installed-dev .venv/numpy126/installed
	NUMPY126_PYTHON=.venv/numpy126/bin/python $(PY) -m pytest -n 2 --dist worksteal -m "not slow and not requires_cuda"

browser:
	@command -v chromium > /dev/null || { command -v apt-get > /dev/null && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core > /dev/null; } || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core > /dev/null; }

test-slow: .venv/installed-dev
	$(PY) -m pytest -m "slow and not requires_cuda"

test-clients: .venv/installed-dev $(CLIENTS:%=.venv/clients/%/installed)
	$(PY) -m pytest -m slow tests/clients

test-cuda: .venv/installed-dev
	$(PY) -m pytest -m requires_cuda

bench: .venv/installed-dev
	$(PY) -m benchmarks

faults: .venv/installed-dev
	$(PY) -m tests.voice_store.fault_table

hear: .venv/installed-dev
	$(PY) -m benchmarks.hear $(HEAR)

small-model: .venv/installed-dev .venv/installed-training
	$(PY) -m training $(STAGE)

soak: .venv/installed-dev
	$(PY) -m benchmarks.soak

fuzz: .venv/fuzz/installed
	@mkdir -p out
	.venv/fuzz/bin/python -m tests.voice_store.fuzz_voice_file out/fuzz-corpus -max_total_time=300 -rss_limit_mb=1024 -max_len=131072 -artifact_prefix=out/
	.venv/fuzz/bin/python -m tests.audio.fuzz_recording out/fuzz-recordings -max_total_time=300 -rss_limit_mb=1024 -max_len=65536 -artifact_prefix=out/

lint: .venv/installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

workflows: .venv/workflows/installed
	.venv/workflows/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/workflows/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	.venv/workflows/bin/zizmor --quiet --offline .github

lock: .venv/uv
	$(COMPILE) requirements.in --override requirements-overrides.txt --excludes requirements-excludes.txt -o $(RUN_LOCK)
	$(COMPILE) requirements-dev.in --excludes requirements-dev-excludes.txt -o $(DEV_LOCK)
	$(COMPILE) training/requirements.in -o training/requirements.txt

load-balancer-listing: .venv/uv
	$(PY) -m scripts.load_balancer_listing "$(IMAGE)" out/load-balancer
	@mkdir -p out/packages
	tar -C out/load-balancer -czf out/packages/load-balancer-listing.tar.gz .

client-package: .venv/uv
	$(UV) build --quiet --out-dir out/packages client

icon: browser
	chromium --headless --no-sandbox --disable-dev-shm-usage --hide-scrollbars --default-background-color=00000000 --window-size=512,512 \
		--screenshot=serving/http/static/icon.png "file://$(CURDIR)/serving/http/static/icon.svg"

clean:
	rm -rf .venv out

# uv comes by pip, at the version that made the lock.
.venv/uv: requirements-uv.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-uv.txt
	@touch $@

# `uv pip sync` removes what the lock does not name, itself included: so the venv's uv is in it.
.venv/installed: .venv/uv $(RUN_LOCK)
	@if [ ! -e .venv/installed-dev ] || [ $(RUN_LOCK) -nt .venv/installed-dev ]; then \
		SECONDS=0; \
		$(UV) pip sync --quiet --python $(PY) $(RUN_LOCK) requirements-uv.txt || exit 1; \
		echo "installed $(RUN_LOCK) in $$SECONDS s"; \
		rm -f .venv/installed-dev; \
	fi
	@touch $@

.venv/installed-dev: .venv/uv $(RUN_LOCK) $(DEV_LOCK)
	@SECONDS=0; \
	$(UV) pip sync --quiet --python $(PY) $(RUN_LOCK) $(DEV_LOCK) requirements-uv.txt || exit 1; \
	echo "installed $(RUN_LOCK) and $(DEV_LOCK) in $$SECONDS s"
	@touch $@ .venv/installed

.venv/installed-training: .venv/installed-dev training/requirements.txt
	$(UV) pip install --quiet --python $(PY) -r training/requirements.txt
	@touch $@

# Apart from the rest: instruments whatever it imports, and has no wheels for macOS.
.venv/fuzz/installed: .venv/uv $(RUN_LOCK) requirements-fuzz.txt
	$(PYTHON) -m venv --without-pip .venv/fuzz
	$(UV) pip install --quiet --python .venv/fuzz/bin/python -r requirements-fuzz.txt
	@touch $@

.venv/workflows/installed: .venv/uv requirements-workflows.txt
	$(PYTHON) -m venv --without-pip .venv/workflows
	$(UV) pip install --quiet --python .venv/workflows/bin/python -r requirements-workflows.txt
	@touch $@

# An old reader of the voice store: what is written with numpy 2 must load there.
.venv/numpy126/installed: .venv/uv
	$(PYTHON) -m venv --without-pip .venv/numpy126
	$(UV) pip install --quiet --python .venv/numpy126/bin/python numpy==1.26.4
	@touch $@

# Other people's clients, each in an environment of its own.
.venv/clients/schemathesis/installed: .venv/uv
	$(PYTHON) -m venv --without-pip .venv/clients/schemathesis
	$(UV) pip install --quiet --python .venv/clients/schemathesis/bin/python "schemathesis==4.*"
	@touch $@

.venv/clients/openai-%/installed: .venv/uv
	$(PYTHON) -m venv --without-pip .venv/clients/openai-$*
	$(UV) pip install --quiet --python .venv/clients/openai-$*/bin/python "openai==$*.*"
	@touch $@

.venv/clients/livekit/installed: .venv/uv
	$(PYTHON) -m venv --without-pip .venv/clients/livekit
	$(UV) pip install --quiet --python .venv/clients/livekit/bin/python "livekit-plugins-openai==1.8.*"
	@touch $@

.venv/clients/pipecat/installed: .venv/uv
	$(PYTHON) -m venv --without-pip .venv/clients/pipecat
	$(UV) pip install --quiet --python .venv/clients/pipecat/bin/python "pipecat-ai[openai]==1.14.*"
	@touch $@

# Home Assistant's protocol in front of OpenAI's; for Python 3.12 and later.
.venv/clients/wyoming/installed: .venv/uv
	@mkdir -p .venv/clients/wyoming
	@for python in $(PYTHON312) python3.13 python3.12; do \
		"$$python" -c '' 2> /dev/null || continue; \
		"$$python" -m venv --without-pip .venv/clients/wyoming; \
		$(UV) pip install --quiet --python .venv/clients/wyoming/bin/python "wyoming-openai==0.8.*" || exit 1; \
		break; \
	done; \
	if [ -e .venv/clients/wyoming/bin/python ]; then touch $@; else echo "Python 3.12 is not there: wyoming_openai is left out; make PYTHON312=/path/to/python3.12 $(MAKECMDGOALS)"; fi

.venv/clients/openai-js/installed:
	@mkdir -p .venv/clients/openai-js
	@if command -v npm > /dev/null; then npm install --silent --no-fund --no-audit --prefix .venv/clients/openai-js openai@7; else echo "npm is not installed: the JavaScript SDK is left out"; fi
	@touch $@
