#!/usr/bin/env bash
# From nothing to predictions: an environment, a LeNet with SPConv trained on real handwritten digits, evaluated,
# exported and used.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
run=output/lenet_spconv_digits
step() { printf '\n== %s\n   %s\n' "$1" "$2"; }

step "1/5 install into .venv" "pip install -r requirements.txt; pip install -e ."
make_environment .venv requirements.txt
install_package .venv
export PATH="$PWD/.venv/bin:$PATH"

step "2/5 train" "python tools/train.py -c configs/lenet_spconv_digits.yaml"
python tools/train.py -c configs/lenet_spconv_digits.yaml -o Global.overwrite=true

step "3/5 evaluate" "python tools/eval.py --run $run"
python tools/eval.py --run $run

step "4/5 export" "python tools/export.py --run $run"
python tools/export.py --run $run

step "5/5 predict" "python tools/predict.py --model $run/inference $run/samples --topk 3"
python - <<'PY'
from pathlib import Path

from PIL import Image

from ppeconv.data.datasets import Digits

folder = Path("output/lenet_spconv_digits/samples")
folder.mkdir(exist_ok=True)
images, labels = Digits(".", "test").arrays
for index in range(8):
    Image.fromarray(images[index, ..., 0]).save(folder / f"held_out_{index}_is_{labels[index]}.png")
PY
python tools/predict.py --model $run/inference $run/samples --topk 3

cat <<END

Where to look:
  $run/results.csv, curves.png      figures of every epoch
  $run/best_model.pdparams          the best weights
  $run/inference/                   the exported network
  .venv/bin/visualdl --logdir $run/vdl --language zh      curves in the browser
Next: source .venv/bin/activate; python tools/list.py; python tools/train.py -c configs/resnet20_spconv_cifar10.yaml
END
