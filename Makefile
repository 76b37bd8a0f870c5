# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
PYTHON ?= python3

.PHONY: help demo demo-stop demo-clean test long orthancs venv locale \
	screenshots bench dist advisories
.DEFAULT_GOAL := help

help:
	@echo 'make demo         set up a hospital in .demo, start it, play the loop'
	@echo 'make demo-stop    stop it'
	@echo 'make demo-clean   stop it and remove .demo'
	@echo 'make test         set up what the tests need and run them all'
	@echo 'make long         the long proofs: real files, hundreds of kills'
	@echo 'make orthancs     the tests of the engine against newer Orthancs'
	@echo 'make venv         only set up what the tests need'
	@echo 'make locale       bring the catalogues of translations up to date'
	@echo 'make screenshots  make the pictures of README.rst anew'
	@echo 'make dist         build source, wheel and its bill of materials in dist'
	@echo 'make advisories   ask whether dependencies have known holes'
	@echo 'make bench        measure, see benchmarks/README.rst (PART=sync, lists,'
	@echo '                  worklists)'
	@echo
	@echo 'Settable: DEMO_STATE, TRYTON_PORT, ORTHANC_PORT, DICOM_PORT, PYTHON,'
	@echo 'DEMO_ADMIN_PASSWORD (at the first start)'

demo:
	@$(PYTHON) -m demo up

demo-stop:
	@$(PYTHON) -m demo stop

demo-clean:
	@$(PYTHON) -m demo clean

test:
	@$(PYTHON) tests/run

long:
	@$(PYTHON) tests/run --long

orthancs:
	@$(PYTHON) tests/run --orthancs

locale:
	@venv=$$($(PYTHON) -m demo.bootstrap --tests) && \
	PYTHONWARNINGS=ignore "$$venv" tests/catalogues.py

venv:
	@$(PYTHON) -m demo.bootstrap --tests

screenshots:
	@venv=$$($(PYTHON) -m demo.bootstrap --tests) && \
	TEST_SCREENSHOTS=doc/images PYTHONWARNINGS=ignore \
		"$$venv" -m pytest -q -p no:cacheprovider tests/test_browser.py

PART ?= sync
bench:
	@venv=$$($(PYTHON) -m demo.bootstrap --tests) && \
	PYTHONWARNINGS=ignore "$$venv" -m benchmarks.$(PART)

dist advisories:
	@venv=$$($(PYTHON) -m demo.bootstrap --tests) && \
	"$$venv" -m release.$(subst dist,build,$@)
