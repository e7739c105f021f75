"""Measure speed: python tools/benchmark.py --train -c configs/resnet20_conv_cifar10.yaml"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppeconv.cli.main import main

sys.exit(main(["benchmark", *sys.argv[1:]]))
