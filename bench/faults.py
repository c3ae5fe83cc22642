"""What becomes of the work when things break: plain procrastinate, and this package.

./run exec python bench/faults.py [--only NAME…] [--sides SIDE…] [--json FILE]
"""

import sys
from pathlib import Path

# Ahead of this directory: `faults` is the package that breaks things, not this script.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lib"))

from faults_table import main

main(sys.argv[1:])
