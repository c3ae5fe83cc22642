"""Compares how plain procrastinate and this package recover from faults.

./run bench faults [--only NAME…] [--sides SIDE…] [--json FILE]
"""

import sys
from pathlib import Path

# `faults` is the package in tests/lib, not this folder.
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "lib"))

from table import main

main(sys.argv[1:])
