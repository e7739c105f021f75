#!/usr/bin/env bash
# Style, types and the whole suite in an environment of its own:  bash scripts/test.sh [--full] [pytest arguments]
# --full adds the slow tests and draws new cases for the property tests. PPECONV_DATA names a folder of real data sets; without it their tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
tier=(-m "not full")
if [ "${1:-}" = --full ]; then tier=(); export PPECONV_NEW_CASES=1; shift; fi
make_environment .venv-test requirements.txt requirements-test.txt
.venv-test/bin/ruff check .
.venv-test/bin/ruff format --check -q .
.venv-test/bin/mypy
OMP_NUM_THREADS=1 .venv-test/bin/python -m pytest -n 2 --dist worksteal -ra "${tier[@]}" "$@"
