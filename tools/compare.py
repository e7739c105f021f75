"""Compare trained networks: python tools/compare.py output/resnet20_conv_cifar10 output/resnet20_spconv_cifar10"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppeconv.cli.main import main

sys.exit(main(["compare", *sys.argv[1:]]))
