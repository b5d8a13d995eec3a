"""The command line. Each verb is a file here; heavy imports happen inside the verbs, so that help answers at once."""

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from atrous.cli import bench, check, demo, evaluate, facts, import_, predict, train
from atrous.version import __version__

__all__ = ["app", "run"]

app = App(
    name="atrous",
    version=__version__,
    help="Semantic segmentation with DeepLabv3 and DeepLabv3+.",
    help_epilogue="Begin with: `atrous demo`, or `atrous check DATA` and `atrous train DATA`.",
    help_format="plaintext",  # markdown would cost a fifth of the start-up time
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
app.command(demo.demo)
app.command(check.check)
app.command(train.train)
app.command(evaluate.evaluate)
app.command(predict.predict)
app.command(import_.import_weights, name="import")
app.command(bench.bench)
app.command(facts.models)
app.command(facts.info)
app.command(facts.env)


def run(arguments: Sequence[str], *, started: float) -> int:
    """Run one command line and return its exit code."""
    train.STARTED = started
    try:
        code = app(list(arguments), exit_on_error=False, print_error=True)
    except CycloptsError:
        return 2
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    sys.stdout.flush()
    return code if isinstance(code, int) else 0
