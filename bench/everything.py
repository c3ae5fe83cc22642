"""All comparisons, one after the other, in about an hour: `./run bench`.

    ./run bench [--only evaluating limits queue growth]

Each writes its figures to `bench/results`. Run nothing else on the machine meanwhile.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
COMPARISONS = {
    "evaluating": ("comparison",),
    "limits": ("limits.py",),
    "queue": ("queues.py", "all"),
    "growth": ("growth.py",),
}
WITH_PEERS = ("evaluating", "limits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=COMPARISONS, default=list(COMPARISONS))
    parser.add_argument("--peers-python", required=True, help="the environment of other programs")
    given = parser.parse_args()
    for number, name in enumerate(given.only, 1):
        script, *arguments = COMPARISONS[name]
        if name in WITH_PEERS:
            arguments += ["--peers-python", given.peers_python]
        print(f"\n# {name} ({number} of {len(given.only)})\n", flush=True)
        began = time.monotonic()
        subprocess.run([sys.executable, str(HERE / script), *arguments], check=True)
        print(f"\n{name} took {(time.monotonic() - began) / 60:.0f} minutes", flush=True)


if __name__ == "__main__":
    main()
