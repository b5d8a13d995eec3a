"""Every error that a user can cause, in one small tree.

    AtrousError                    exit code 2 at the command line
    |-- ConfigError                wrong usage: an option, a setting, a configuration file
    |-- DataError                  a data set that cannot be used as it is
    |   |-- ImageError             one file that is not a readable image or mask
    |   `-- VideoError             one file that is not a readable video, or is longer than is taken
    |-- DownloadError              a file that could not be fetched: no network, a server's error, a wrong hash
    |-- WeightsError               a checkpoint or model file that is damaged, foreign or does not fit
    |-- TrainingError              a run that cannot go on: a reading process that died, memory that ran out
    |   `-- DivergedError          a loss or gradient that is not finite
    |-- InterruptedTrainingError   a run that was told to stop; exit code 130 or 143
    |-- OutputError                results that cannot be written: a full disk, a folder without permission
    `-- MissingExtraError          an optional package that is not installed

A message has three parts: what was found and where, what was expected, and the next step.
"""

__all__ = [
    "AtrousError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "DownloadError",
    "ImageError",
    "InterruptedTrainingError",
    "MissingExtraError",
    "OutputError",
    "TrainingError",
    "VideoError",
    "WeightsError",
]


class AtrousError(Exception):
    """Base of all errors that are meant for the user; its text needs no traceback."""


class ConfigError(AtrousError):
    """Wrong usage: an unknown option or setting, or settings that contradict each other."""


class DataError(AtrousError):
    """A data set that cannot be used as it is."""


class ImageError(DataError):
    """One file that is not a readable image or mask."""


class VideoError(DataError):
    """One file that is not a readable video, or that is longer or larger than is taken."""


class DownloadError(AtrousError):
    """A file that could not be fetched from the network, or that is not the one that was expected.

    `found` is the first part of the message alone, for callers that know a better next step.
    """

    def __init__(self, message: str, *, found: str = "") -> None:
        super().__init__(message)
        self.found = found or message


class WeightsError(AtrousError):
    """A checkpoint or model file that is damaged, foreign, or does not fit the network."""


class TrainingError(AtrousError):
    """A training run that cannot go on."""


class DivergedError(TrainingError):
    """A loss or a gradient that is not finite; going on from the saved state would meet it again."""


class InterruptedTrainingError(AtrousError):
    """A training run that a signal told to stop; its state is saved, and `atrous train --resume` goes on."""

    def __init__(self, message: str, *, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class OutputError(AtrousError):
    """Results that cannot be written where they were asked for."""


class MissingExtraError(AtrousError):
    """An optional package is needed that is not installed."""
