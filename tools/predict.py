"""Classify images: python tools/predict.py --model output/resnet18_spconv_cifar10/inference IMAGE|FOLDER|PATTERN"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppeconv.cli.main import main

sys.exit(main(["predict", *sys.argv[1:]]))
