#!/usr/bin/env bash
# The suite under several interpreters:  bash scripts/test_matrix.sh PYTHON... [-- pytest arguments]
# Each gets an environment .venv-matrix/<version>-paddle-<version>. PADDLE chooses another paddlepaddle than that of
# requirements.txt, PROCESSES how many tests run at once (2), PPECONV_DATA names a folder of real data sets.
# The last lines of every run are collected in .venv-matrix/summary.txt; the exit code is 1 where one failed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
paddle=${PADDLE:-$(sed -n 's/^paddlepaddle==//p' requirements.txt)}
pythons=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do pythons+=("$1"); shift; done
shift || true
[ ${#pythons[@]} -gt 0 ] || { sed -n '2,6s/^# //p' scripts/test_matrix.sh >&2; exit 2; }

folder=.venv-matrix
mkdir -p "$folder"
echo "paddlepaddle==$paddle" > "$folder/paddle-$paddle.txt"
failed=0
for python in "${pythons[@]}"; do
  version=$("$python" -c 'import platform; print(platform.python_version())')
  name="$version-paddle-$paddle"
  PYTHON=$python make_environment "$folder/$name" "$folder/paddle-$paddle.txt" requirements-common.txt requirements-test.txt
  echo "== Python $version, paddlepaddle $paddle"
  OMP_NUM_THREADS=1 "$folder/$name/bin/python" -m pytest -n "${PROCESSES:-2}" --dist worksteal -ra -m "not full" "$@" \
    2>&1 | tee "$folder/$name.log" || failed=1
  { echo "== Python $version, paddlepaddle $paddle: $(tail -1 "$folder/$name.log")"; grep '^SKIPPED' "$folder/$name.log" || true; } \
    >> "$folder/summary.txt"
done
exit $failed
