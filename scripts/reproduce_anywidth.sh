#!/usr/bin/env bash
# Train LeNet3C1L on Fashion-MNIST at any width in four ways (20 epochs each), evaluate ten widths, write the table.
# More arguments go to training: bash scripts/reproduce_anywidth.sh Global.epochs=4 "Optimizer.lr.decay_epochs=[2,3]"
set -euo pipefail
cd "$(dirname "$0")/.."
runs=()
for kind in awn awn_rs snet usnet; do
  name=lenet3c1l_${kind}_fashionmnist
  python tools/train.py -c "configs/$name.yaml" -o Global.cpu_backend=auto Global.checkpoints=auto "$@"
  python tools/eval.py --run "output/$name"
  runs+=("output/$name")
done
python scripts/anywidth_table.py "${runs[@]}"
