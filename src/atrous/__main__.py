"""The command `atrous`: runs the command line and turns every end into an exit code."""

import os
import signal
import sys
import time
from types import FrameType

# What `--minutes` is counted from: the interpreter has just started.
STARTED = time.monotonic()


class _Terminated(BaseException):
    """SIGTERM arrived."""


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def main() -> int:
    """Run and return the exit code: 0, 1 findings, 2 wrong usage or not possible, 130 and 143 on signals."""
    from atrous.cli import run
    from atrous.cli.console import complain
    from atrous.errors import AtrousError, InterruptedTrainingError

    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        return run(sys.argv[1:], started=STARTED)
    except InterruptedTrainingError as error:
        complain(str(error))
        return 128 + error.signal_number
    except AtrousError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except _Terminated:
        complain("terminated")
        return 143
    except BrokenPipeError:
        # The reader of our output went away; Python must not complain again while it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if os.environ.get("ATROUS_TRACEBACK"):
            raise
        complain(
            f"an error inside atrous: {type(error).__name__}: {error}. This is a bug; please report it with the output of "
            "`atrous env`. ATROUS_TRACEBACK=1 shows where it happened."
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
