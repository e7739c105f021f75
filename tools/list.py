"""List operators, backbones and configs: python tools/list.py [operators|backbones|configs]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppeconv.cli.main import main

sys.exit(main(["list", *sys.argv[1:]]))
