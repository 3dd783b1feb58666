# `make demo` trains and measures a tiny model and makes a page of its runs, `make test` checks everything,
# `make study` compares TAPO with GRPO and with itself without its parts (hours; goes on where it stopped),
# `make study-small` does a part of that.
# Each makes .venv when it is absent; needed are Python 3.10 or newer and make.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test study study-small clean

demo: .venv/demo
	@if [ -e runs/demo ]; then mv runs/demo runs/demo-before-$$(date +%Y%m%d-%H%M%S); fi
	$(BIN)/python train.py --stage coldstart --out runs/demo/start
	$(BIN)/python train.py --stage rl --model runs/demo/start/checkpoints/step-0 --out runs/demo/tapo
	$(BIN)/python train.py --stage rl --model runs/demo/start/checkpoints/step-0 --out runs/demo/grpo \
		--algo grpo --steps 50 --eval-every 5
	$(BIN)/python report.py runs/demo/tapo runs/demo/grpo --out runs/demo/page.html

test: .venv/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q

study: .venv/demo
	$(BIN)/python bench/study.py

study-small: .venv/demo
	$(BIN)/python bench/study.py --small

.venv/demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[report]"
	touch $@

.venv/test: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf .venv build *.egg-info
