#!/usr/bin/env bash
# Measure every operator in the CIFAR ResNet18 and ResNet20 beside the plain network and narrower ones, at batch sizes 1
# and 64, and write docs/speed.md.
# usage: scripts/measure_speed.sh [NETWORK ...]    names of backbones, ResNet18 and ResNet20 if none
# Each is one call of tools/advise.py, whose CSV is kept in docs/speed/; what was measured before on this machine comes
# from its cache, and a run that was interrupted goes on. No data are needed. May be set: OMP_NUM_THREADS (2), RUNTIME
# (names with commas; all that are installed), ROUNDS (5), AGAIN (1: measure anew), PYTHON (python).
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
[ $# -gt 0 ] || set -- ResNet18 ResNet20
mkdir -p docs/speed
for network in "$@"; do
  file=docs/speed/$(tr '[:upper:]' '[:lower:]' <<< "$network")
  for batch in 1 64; do
    ${PYTHON:-python} tools/advise.py --arch "$network" --batch-size "$batch" --budget 0.5 --rounds "${ROUNDS:-5}" \
      ${RUNTIME:+--runtime "$RUNTIME"} ${AGAIN:+--measure-again} --csv "${file}_batch$batch.csv"
  done
done
${PYTHON:-python} scripts/speed_table.py
