"""Detectors: python tools/detect.py train -c configs/detection/picodet_resnet18_conv_bccd.yaml --eval"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppeconv.cli.main import main

sys.exit(main(["detect", *sys.argv[1:]]))
