# Everything is made inside .venv; nothing is installed elsewhere.
#
#     make demo                          hear the bundled recording, end to end
#     make demo PYTHON=python3.12        with another Python (3.11 or later)
#     make demo TORCH="torch --index-url https://download.pytorch.org/whl/cpu"
#                                        without CUDA's libraries (saves some GB)

PYTHON ?= python3
TORCH ?= torch==2.13.0
OLDEST ?= transformers==5.0.0
DEMO_ARGS ?=
PYTEST_ARGS ?=
FAULTS_ARGS ?=

# How many tests run at a time: many of them wait. 0 runs them one after another, in this process.
WORKERS ?= $(shell echo $$((2 * $$(nproc))))
SIDE_BY_SIDE := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

VENV := .venv/bin/python
PIP := $(VENV) -m pip install --quiet --disable-pip-version-check
INSTALL := $(PIP) --constraint constraints.txt
NPM := $(shell command -v npm)
LINT := tests/web/lint

# Otherwise each of the workers and of the processes that tests start compiles all of it anew.
export PYTHONDONTWRITEBYTECODE :=

.DELETE_ON_ERROR:
.PHONY: help demo test test-fast coverage test-oldest test-container test-cluster test-gpu lint-js spelling faults fuzz attack attack-all api licences sbom \
  sound-words demo-recording demo-picture screenshots hooks constraints clean

help:  ## these words
	@sed -n 's/^\([a-z-]*\): .*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: .venv/.installed  ## play the bundled recording through the whole daemon
	.venv/bin/pe-stream demo $(DEMO_ARGS)

test: .venv/.installed-test  ## lint, types, tests
	$(VENV) -m ruff check
	$(VENV) -m ruff format --check
	$(VENV) -m mypy
	$(VENV) -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

test-fast: .venv/.installed-test  ## the same without the tests marked realtime or heavy
	$(VENV) -m ruff check
	$(VENV) -m ruff format --check
	$(VENV) -m mypy
	$(VENV) -m pytest $(SIDE_BY_SIDE) -m "not gpu and not attack and not container and not cluster and not realtime and not heavy" $(PYTEST_ARGS)

coverage: .venv/.installed-test  ## lines and branches that the tests run, in all their processes
	$(VENV) -m pytest $(SIDE_BY_SIDE) --cov --cov-report=term --cov-report=json $(PYTEST_ARGS)

test: lint-js
test test-fast: spelling

# What is missing is a failure in CI, as for the tests.
ifneq ($(NPM)$(CI),)
lint-js: $(LINT)/node_modules/.installed  ## eslint and tsc --checkJs on the page's scripts
	npm run --silent --prefix $(LINT) lint
else
lint-js:
	@echo "skipped lint-js: there is no npm (apt-get install nodejs npm)"
endif

spelling: .venv/.installed-test  ## codespell over everything that is prose
	$(VENV) -m codespell_lib

test-oldest: .oldest/.installed  ## the model's tests with the oldest transformers allowed
	PYTHONPATH=.oldest $(VENV) -m pytest tests/model $(PYTEST_ARGS)

test-container: .venv/.installed-test  ## build the container and run it (needs root, buildah, debootstrap)
	$(VENV) -m pytest -m container tests/test_container.py $(PYTEST_ARGS)

test-cluster: .venv/.installed-cluster  ## engines on Ray Serve: a cluster on loopback, some minutes
	$(VENV) -m pytest -m cluster tests/serving/test_cluster.py -n 0 $(PYTEST_ARGS)

test-gpu: .venv/.installed-test  ## the checks on an NVIDIA GPU (needs a torch with CUDA: TORCH=torch)
	$(VENV) -m pytest -m gpu $(PYTEST_ARGS)

faults: .venv/.installed-test  ## break the daemon's surroundings 200 times, and report
	PYTHONPATH=tests $(VENV) -m faults $(FAULTS_ARGS)

# An interrupt lets pytest end the daemons that it started.
attack: .venv/.installed-test  ## attack all that is open to others, for 15 minutes at most; loopback only
	timeout --signal=INT --kill-after=20 900 $(MAKE) --no-print-directory attack-all

# Long and short: what held is in the short ones. TIMED takes latencies: nothing else runs beside it.
attack-all: TIMED := tests/attack/test_connections.py tests/attack/test_many_sources.py
attack-all: ATTACKS := tests/attack tests/model/test_hostile.py tests/audio/test_fetch.py
attack-all: .venv/.installed-test
	$(VENV) -m pytest $(ATTACKS) -m "not gpu" -n 4 --dist load $(TIMED:%=--ignore=%) $(PYTEST_ARGS)
	$(VENV) -m pytest $(TIMED) -m "attack and not gpu" -n 0 $(PYTEST_ARGS)

fuzz: .venv/.installed-test  ## 100,000 damaged configurations, messages, recordings of each kind
	FUZZ_CASES=100000 $(VENV) -m pytest tests/test_fuzz.py $(PYTEST_ARGS)

api: .venv/.installed-test  ## the pages of the Python API, in build/api
	PYTHONPATH=tests $(VENV) -m api_pages build/api

licences: .venv/.installed-test  ## what runs besides pe_stream, with what it brings, and its licences
	PYTHONPATH=tests $(VENV) -m supply_chain licences

sbom: .venv/.installed-test  ## the same as CycloneDX, in build/sbom.cdx.json
	PYTHONPATH=tests $(VENV) -m supply_chain sbom build/sbom.cdx.json

sound-words: .venv/.installed  ## the words of phrases.yaml and audioset.yaml anew, for hints at prompts
	$(VENV) -c "from pe_stream.workbench.training import concepts; print(*concepts.sound_words(), sep='\n')" \
	  > pe_stream/assets/sound_words.txt

demo-recording: .venv/.installed  ## make the demo recording anew (needs espeak-ng)
	$(VENV) -m pe_stream.workbench.make_demo pe_stream/assets

demo-picture: .venv/.installed  ## what `detect --plot` draws of that recording, for the README
	.venv/bin/pe-stream detect pe_stream/assets/demo.opus -c pe_stream/assets/everyday.yaml \
	  --plot pe_stream/assets >/dev/null

screenshots: .venv/.installed-test  ## pictures of the page for the README (needs chromium)
	PYTHONPATH=tests $(VENV) -m web.screenshots

hooks: .venv/.installed-test  ## check every commit with ruff, mypy, codespell and eslint
	.venv/bin/pre-commit install

constraints: .venv/.installed-test  ## write constraints.txt again, with the newest that pyproject allows
	$(PIP) --upgrade --upgrade-strategy eager --editable '.[cluster,test]' $(TORCH)
	{ sed '/^[^#]/,$$d' constraints.txt; $(VENV) -m pip freeze --all --exclude-editable \
	  --exclude pip --exclude torch | sed '/^\(cuda\|nvidia\|triton\)/d'; } >constraints.new
	mv constraints.new constraints.txt

clean:  ## remove everything made here
	rm -rf .venv .oldest build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .coverage* coverage.json $(LINT)/node_modules

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "pe-stream needs Python 3.11 or later; name one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.torch: .venv/.made
	$(PIP) $(TORCH)
	@touch $@

.venv/.installed: .venv/.torch pyproject.toml constraints.txt
	$(INSTALL) --editable '.[plot,web]'
	@touch $@

.venv/.installed-test: .venv/.torch pyproject.toml constraints.txt
	$(INSTALL) --editable '.[test]'
	@touch $@ .venv/.installed

.venv/.installed-cluster: .venv/.installed-test
	$(PIP) --editable '.[cluster]'
	@touch $@

.oldest/.installed: .venv/.installed-test
	rm -rf .oldest
	$(PIP) --target .oldest '$(OLDEST)'
	@touch $@

$(LINT)/node_modules/.installed: $(LINT)/package-lock.json
	npm ci --prefix $(LINT) --silent --no-audit --no-fund
	@touch $@
