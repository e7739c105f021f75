"""Which operator to take for a time: python tools/advise.py --arch ResNet20 --budget 0.5"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppeconv.cli.main import main

sys.exit(main(["advise", *sys.argv[1:]]))
