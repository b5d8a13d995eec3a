"""Videos in and out, through PyAV (the extra `video`): frames as arrays, exact times, no file but the one named."""

from atrous.video.containers import VIDEO_SUFFIXES, is_video
from atrous.video.reading import Clip, Frame, Limits, expected_frames, open_video
from atrous.video.threads import ahead, behind
from atrous.video.writing import VideoWriter

__all__ = [
    "VIDEO_SUFFIXES",
    "Clip",
    "Frame",
    "Limits",
    "VideoWriter",
    "ahead",
    "behind",
    "expected_frames",
    "is_video",
    "open_video",
]
