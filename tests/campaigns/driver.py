"""Runs `atrous` with something going wrong at a chosen point: `driver.py FAULT ARGUMENT... -- COMMAND LINE`.

kill-while-writing N    kill -9 in the N-th file of tensors, when half of it is written
kill-before-flush N     kill -9 when the N-th new file is written but not yet flushed
kill-before-rename N    kill -9 when it is flushed but has not its name yet
kill-after-rename N     kill -9 when it has its name
fill-disk STEP FREE     before step STEP, fill the disk of the run until FREE bytes are left
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import atrous.files
import atrous.tensors
from atrous.__main__ import main
from atrous.training.steps import Stepper


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(owner, name, number, *, before=None, after=None):
    """Do something before or after the `number`-th call of a function (from 1)."""
    plain, calls = getattr(owner, name), [0]

    def counted(*arguments, **options):
        calls[0] += 1
        if calls[0] == number and before is not None:
            before(*arguments)
        result = plain(*arguments, **options)
        if calls[0] == number and after is not None:
            after(*arguments)
        return result

    setattr(owner, name, counted)


def cut(tensors, path, *rest):
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])
    die()


def fill_disk(step, free, folder):
    plain = Stepper.step

    def stepping(self, batch, *, number):
        if number == step:
            with (folder.parent / "filler").open("wb") as file:
                file.write(b"\0" * max(0, shutil.disk_usage(folder).free - free))
        return plain(self, batch, number=number)

    Stepper.step = stepping


def prepare(fault, *arguments):
    numbers = [int(argument) for argument in arguments]
    if fault == "kill-while-writing":
        at_call(atrous.tensors, "save_file", numbers[0], after=cut)
    elif fault == "kill-before-flush":
        at_call(atrous.files, "_flush", numbers[0], before=lambda *_: die())
    elif fault == "kill-before-rename":
        at_call(atrous.files, "_flush", numbers[0], after=lambda *_: die())
    elif fault == "kill-after-rename":
        at_call(atrous.files, "_flush_folder", numbers[0], before=lambda *_: die())
    elif fault == "fill-disk":
        fill_disk(*numbers, Path(sys.argv[sys.argv.index("--out") + 1]))
    else:
        raise SystemExit(f"no fault {fault}")


if __name__ == "__main__":
    border = sys.argv.index("--")
    prepare(*sys.argv[1:border])
    sys.argv = ["atrous", *sys.argv[border + 1 :]]
    sys.exit(main())
