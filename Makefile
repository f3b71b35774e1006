PYTHON ?= python3

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q -e '.[test]'
	touch .venv/ready

test: .venv/ready
	.venv/bin/pytest -n auto

.PHONY: test
