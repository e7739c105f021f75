#!/usr/bin/env bash
# Measure every operator in the CIFAR ResNet18 beside the plain network, and write docs/speed.md.
# usage: scripts/measure_speed.sh [CONFIG ...]    names of resnet20_*_cifar10 configs; all with an operator if none
# Each operator takes turns with the plain network in a run of its own, whose CSV is kept in docs/speed/. The configs'
# ResNet20 becomes ResNet18; no data are needed. May be set: OMP_NUM_THREADS (2), RUNTIME (all; see tools/benchmark.py),
# ROUNDS (10), TIMES (3), PYTHON (python). An operator takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
plain=resnet20_conv_cifar10
network=(Arch.name=ResNet18 Arch.stem=cifar Arch.class_num=10 "Infer.class_names=[]" "Infer.image_shape=[3,32,32]")
[ $# -gt 0 ] || set -- $(grep -l '^Operator: ' configs/resnet20_*_cifar10.yaml | xargs -n 1 basename -s .yaml)
mkdir -p docs/speed
failed=()
for config in "$@"; do
  ${PYTHON:-python} tools/benchmark.py -c "$plain" -c "$config" -o "${network[@]}" --runtime "${RUNTIME:-all}" \
    --rounds "${ROUNDS:-10}" --times "${TIMES:-3}" --csv "docs/speed/${config/resnet20/resnet18}.csv" || failed+=("$config")
done
${PYTHON:-python} scripts/speed_table.py
[ ${#failed[@]} -eq 0 ] || { echo "not measured: ${failed[*]}" >&2; exit 1; }
