#!/usr/bin/env bash
# Training steps of the same networks here and in PyTorch (default, channels_last, and bf16 where the CPU has it), in turns.
# usage: scripts/bench_vs_torch.sh PYTHON_WITH_TORCH [--rounds 5] [--threads 2] [--networks ResNet18 ...] [--csv FILE]
# PYTHON names the Python that has paddlepaddle (default: python).
set -euo pipefail
[ $# -ge 1 ] || { sed -n 2,4p "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
exec env PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" "${PYTHON:-python}" "$here/bench_vs_torch.py" "$@"
