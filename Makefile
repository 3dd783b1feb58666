# `make demo` trains a tiny model with TAPO and with GRPO and makes a page of both runs, `make demo-from-nothing`
# makes the model too, `make test` checks everything, `make study` compares TAPO with GRPO and with itself without its
# parts (hours; goes on where it stopped), `make study-small` does a part of that.
# Each makes .venv when it is absent, and `make install` nothing else; needed are Python 3.10 or newer and make.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: install demo demo-from-nothing test study study-small clean

# What the demo starts from; results/coldstart/README.md says how it was made.
START = results/coldstart

install: .venv/demo

demo: .venv/demo
	@if [ -e runs/demo ]; then mv runs/demo runs/demo-before-$$(date +%Y%m%d-%H%M%S); fi
	@echo
	@echo "1 of 3: TAPO, 30 steps from $(START), a model of 0.8 million weights that solves half of the problems."
	@echo "A step samples 8 answers to each of 32 problems; the model rewrites some wrong ones and learns from both."
	@echo
	$(BIN)/python train.py --stage rl --model $(START) --out runs/demo/tapo --eval-every 5
	@echo
	@echo "2 of 3: GRPO, the same without rewriting. 50 steps: at about 40 it has generated as many tokens as TAPO in 30."
	@echo
	$(BIN)/python train.py --stage rl --model $(START) --out runs/demo/grpo --algo grpo --steps 50 --eval-every 5
	@echo
	@echo "3 of 3: both side by side, at equal steps and at equal tokens, and a page of what was constructed."
	@echo
	$(BIN)/python report.py runs/demo/tapo runs/demo/grpo --out runs/demo/page.html

demo-from-nothing: .venv/demo
	@echo
	@echo "Before the demo: the cold start. From random weights the model learns to solve, to reflect and to construct,"
	@echo "from examples that a program writes, then from its own mistakes. Stopped, it goes on when this is run again."
	@echo
	$(BIN)/python train.py --stage coldstart --out runs/coldstart $(if $(wildcard runs/coldstart/config.json),--resume)
	$(MAKE) demo START=runs/coldstart/checkpoints/step-0

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
