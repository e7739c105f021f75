#!/usr/bin/env bash
# Measure a training step of every operator's config beside the plain network's, and write the table in
# docs/cpu_training.md.
# usage: scripts/measure_training.sh [NETWORK ...]    as in the configs' names; resnet20 if none
# The CSV is kept in docs/speed/training/. On an idle machine; no data are needed. May be set: OMP_NUM_THREADS (1),
# BATCH_SIZE (64), ROUNDS (5), PYTHON (python).
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
[ $# -gt 0 ] || set -- resnet20
mkdir -p docs/speed/training
for network in "$@"; do
  configs=(-c "${network}_conv_cifar10")
  for file in $(grep -l '^Operator:' "configs/${network}"_*_cifar10.yaml); do
    configs+=(-c "$(basename "$file" .yaml)")
  done
  ${PYTHON:-python} tools/benchmark.py --train --no-stock "${configs[@]}" --batch-size "${BATCH_SIZE:-64}" \
    --rounds "${ROUNDS:-5}" --csv "docs/speed/training/$network.csv"
done
${PYTHON:-python} scripts/training_table.py
