"""How soon does the command line answer? Whole processes, after one warm-up."""

import statistics
import subprocess
import sys
import time

from machine import describe


def main() -> None:
    """Measure and print."""
    print(describe())
    for arguments in (["--help"], ["--version"], ["train", "--help"]):
        seconds: list[float] = []
        for _ in range(8):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-m", "atrous", *arguments], check=True, capture_output=True)
            seconds.append(time.perf_counter() - begin)
        print(f"atrous {' '.join(arguments):<14} median {1000 * statistics.median(seconds[1:]):.0f} ms")


if __name__ == "__main__":
    main()
