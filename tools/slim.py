"""A trained network made fast enough: python tools/slim.py --run zoo:resnet20 --budget 0.5"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppeconv.cli.main import main

sys.exit(main(["slim", *sys.argv[1:]]))
