"""Train a network: python tools/train.py -c configs/resnet18_spconv_cifar10.yaml -o Global.epochs=1"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppeconv.cli.main import main

sys.exit(main(["train", *sys.argv[1:]]))
