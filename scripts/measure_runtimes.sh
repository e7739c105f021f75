#!/usr/bin/env bash
# Measure wide and narrow networks on the runtimes onednn, onnx and openvino in one run, and write docs/speed.md anew.
# usage: scripts/measure_runtimes.sh [CONFIG ...]    names of configs; eight networks for CIFAR images if none
# The CSV is kept in docs/speed/runtimes/, one for each kind of CPU. On an idle machine; no data are needed. May be set:
# OMP_NUM_THREADS (2), ROUNDS (7), PYTHON (python).
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
[ $# -gt 0 ] || set -- resnet18_conv_cifar10 resnet18_spconv_cifar10 resnet20_conv_cifar10 resnet20_spconv_cifar10 \
  resnet20_ghostconv_cifar10 resnet20_depthwiseseparableconv_cifar10 resnet20_hetconv_cifar10 mobilenetv2_conv_cifar10
configs=()
for name in "$@"; do configs+=(-c "$name"); done
mkdir -p docs/speed/runtimes
cpu=$(${PYTHON:-python} -c 'from ppeconv.benchmark.machine import facts; print(facts()["cpu"])')
file=$(tr '[:upper:] ' '[:lower:]_' <<< "${cpu//(R)/}" | tr -cd '[:alnum:]_-')
${PYTHON:-python} tools/benchmark.py "${configs[@]}" --runtime onednn,onnx,openvino --rounds "${ROUNDS:-7}" \
  --csv "docs/speed/runtimes/$file.csv"
${PYTHON:-python} scripts/speed_table.py
