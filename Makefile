# Two commands do all the set-up: `make demo` and `make test`. Both make .venv from constraints.txt, once.
VENV ?= .venv
PYTHON ?= python3.11
TORCH ?= cpu
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(TORCH)

.PHONY: demo test test-all check up bench-labels bench-lds bench-encoder bench-moves bench-drift bench-index bench-filter bench-steering bench-starts bench-peers bench-gpu clean

demo: $(STAMP)
	$(BIN)/influcoder demo $(if $(KEEP),--keep)

# Two processes at a time, those of the second line each with servers of its own; what takes longest comes first.
test: $(STAMP)
	$(BIN)/pytest -n 2 tests/unit
	$(BIN)/pytest -n 2 --no-loadscope-reorder tests/e2e tests/integration

# An hour and a half: all of that, and every flow killed at every kind of write, every kind of damage, wrong clocks, the
# real decoder's demo, more teachers, Ray, and more examples of each property.
test-all: $(STAMP)
	HYPOTHESIS_PROFILE=thorough $(BIN)/pytest -n 2 -m "long or not long" tests/unit
	TEST_ALL=1 $(BIN)/pytest -n 2 --no-loadscope-reorder -m "long or not long" tests/e2e tests/integration

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/house.py --check

up: $(STAMP)
	$(BIN)/influcoder up

# Minutes of measuring on a quiet machine; tables and plots go to bench/results.
bench-labels: $(STAMP)
	$(BIN)/python -m bench.labels.run
	$(BIN)/python -m bench.labels.ceiling
	$(BIN)/python -m bench.labels.numerics
	$(BIN)/python -m bench.labels.tradeoffs

# A quarter of an hour the first time; what was retrained is kept in the cache folder.
bench-lds: $(STAMP)
	$(BIN)/python -m bench.lds.run

# An hour and a half the first time, most of it the published recipe; what was labelled and trained is kept.
bench-encoder: $(STAMP)
	$(BIN)/python -m bench.encoder.run $(BENCH)
	$(BIN)/python -m bench.encoder.speed

# Two hours the first time, most of it fine-tuning: training on from a champion.
bench-moves: $(STAMP)
	$(BIN)/python -m bench.encoder.continual

# Harmful prompts found by ten others, and what a decoder learns without them; what was labelled and trained is kept.
bench-filter: $(STAMP)
	$(BIN)/python -m bench.filter.run $(BENCH)
	$(BIN)/python -m bench.filter.effect $(BENCH)

# Labels of the encoder benchmark, checks drawn from them, then years of checks: minutes once the labels are there.
bench-drift: $(STAMP)
	$(BIN)/python -m bench.drift.power $(BENCH)

# Ten minutes: a million vectors searched, a corpus built from end to end, memory as a pool grows.
bench-index: $(STAMP)
	$(BIN)/python -m bench.index.run $(BENCH)
	$(BIN)/python -m bench.index.growth

# Five ways to draw training samples, three seeds each: ten minutes on a quiet machine; every run is kept.
bench-steering: $(STAMP)
	$(BIN)/python -m bench.selection.selection $(BENCH)

# Every command that only reads, and a flow run where a stack is up (`make demo KEEP=1`): three minutes.
bench-starts: $(STAMP)
	$(BIN)/python -m bench.scale.starts $(BENCH)

# For a machine with a GPU, set up by `make TORCH=cuda`; elsewhere it prints and keeps nothing. No table is kept yet.
bench-gpu: $(STAMP)
	$(BIN)/python -m bench.gpu.run $(BENCH)

# The label benchmark again, with other libraries beside: their pins are their own, so they get an environment of their
# own that sees the project's.
bench-peers: .venv-peers/.installed
	.venv-peers/bin/python -m bench.labels.run $(BENCH)

.venv-peers/.installed: bench/peers/requirements.txt $(STAMP)
	$(BIN)/python -m venv .venv-peers
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
	  > "$$(.venv-peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	.venv-peers/bin/python -m pip install --quiet --no-deps -r $<
	touch $@

$(STAMP): infra/install.sh infra/constraints.txt pyproject.toml
	PYTHON=$(PYTHON) TORCH=$(TORCH) TORCH_INDEX=$(TORCH_INDEX) bash infra/install.sh $(VENV)
	touch $@

clean:
	rm -rf $(VENV) .venv-peers .influcoder
