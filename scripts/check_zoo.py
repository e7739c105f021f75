"""Load shipped weights, count and evaluate them anew: python scripts/check_zoo.py [NAME ...]

All when no name is given. The data is looked for in $PPECONV_DATA or ./dataset. The exit code is 1 where a count is not
the record's, or the accuracy is off by more than 3 of 10,000 images; on the CPU kind of the training it is equal.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> int:
    """Check them; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of `ppeconv list pretrained`")
    names = parser.parse_args().names
    from ppeconv.engine.startup import import_paddle
    from ppeconv.errors import UserError

    import_paddle()
    from ppeconv.pretrained.weights import list_pretrained, named
    from ppeconv.zoo.check import check

    wrong = 0
    try:
        for weights in [named(name) for name in names] or list_pretrained().values():
            result = check(weights)
            print(result, flush=True)
            wrong += not result.holds
    except UserError as error:
        print(f"check_zoo: error: {error}", file=sys.stderr)
        return 2
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
