"""How long does the demo take, and how good is it on scenes it never saw?"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe


def main() -> None:
    """Run it as a user would and print its time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        out = str(Path(folder) / "demo")
        subprocess.run(
            [sys.executable, "-m", "atrous", "demo", "--out", out, "--seed", str(arguments.seed)], check=True
        )
        minutes = (time.perf_counter() - begin) / 60
    print(describe())
    print(f"wall {minutes:.2f} minutes")


if __name__ == "__main__":
    main()
