"""Export a trained network: python tools/export.py --run output/resnet18_spconv_cifar10"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppeconv.cli.main import main

sys.exit(main(["export", *sys.argv[1:]]))
