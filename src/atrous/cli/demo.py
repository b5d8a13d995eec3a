"""`atrous demo`: the main job on generated scenes."""

from pathlib import Path

from atrous.cli import console

__all__ = ["demo"]


def demo(*, out: Path = Path("demo"), seed: int = 0, minutes: float = 3.0) -> int:
    """Make scenes, then check, train, evaluate and predict on them, offline; ends with a page of pictures and numbers.

    Parameters
    ----------
    out:
        A folder for the data, the run, the predictions and the page; it must not exist yet, or be empty.
    seed:
        Key of the scenes and of the training.
    minutes:
        Minutes for the training.
    """
    from atrous.cli.evaluate import print_scores
    from atrous.demo import run_demo
    from atrous.training.narrator import Narrator

    narrator = Narrator(console.note, console.status, live=console.is_live())
    result = run_demo(out, seed=seed, minutes=minutes, narrator=narrator)
    print_scores(result.report)
    console.result(f"page: {result.page}")
    console.note("next: atrous check YOUR_DATA, then atrous train YOUR_DATA")
    return 0
