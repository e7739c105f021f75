#!/usr/bin/env bash
# Detectors of blood cells with four backbones, in an environment of their own: trained, evaluated, exported and drawn.
#   bash scripts/detection.sh [key=value ...]      such as epoch=2; what was begun goes on where it was
# The data lie in $PPECONV_DATA/bccd or dataset/bccd; everything else goes to output/detection.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
data="${PPECONV_DATA:-dataset}/bccd"
out=output/detection

if [ ! -d "$data/BCCD" ]; then
  echo "there is no $data/BCCD: git clone https://github.com/Shenggan/BCCD_Dataset $data (MIT)" >&2
  exit 2
fi
install_detection .venv-det
export PATH="$PWD/.venv-det/bin:$PATH"
if [ ! -f "$data/test.json" ]; then
  python scripts/voc_to_coco.py "$data/BCCD" --classes RBC,WBC,Platelets
fi

for config in configs/detection/*_bccd.yaml; do
  name=$(basename "$config" .yaml)
  run=$out/$name
  mkdir -p "$run"
  options=(-c "$config" -o "save_dir=$out" "$@")
  if [ ! -f "$run/model_final.pdparams" ]; then
    echo "== $name: training, log in $run/train.log"
    python -W ignore tools/detect.py train "${options[@]}" --eval -r auto >> "$run/train.log" 2>&1
  fi
  echo "== $name: evaluation on the test pictures, export, drawing"
  python -W ignore tools/detect.py eval "${options[@]}" EvalDataset.anno_path=test.json > "$run/eval.log" 2>&1
  python -W ignore tools/detect.py export "${options[@]}" --output_dir "$run/inference" --to paddle,onnx --measure \
    > "$run/export.log" 2>&1
  mkdir -p "$run/pictures"
  for picture in $(head -n 3 "$data/BCCD/ImageSets/Main/test.txt"); do
    cp "$data/BCCD/JPEGImages/$picture.jpg" "$run/pictures"
  done
  python -W ignore tools/detect.py infer "${options[@]}" --infer_dir "$run/pictures" --output_dir "$run/drawn" \
    --draw_threshold 0.4 > "$run/infer.log" 2>&1
  tail -n 1 "$run/eval.log"
done
python scripts/detection_picture.py "$out" "$out/drawn.jpg"
python scripts/detection_table.py "$out"
