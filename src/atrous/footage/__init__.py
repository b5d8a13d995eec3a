"""Segmenting videos: one pass, one network, memory that does not grow with the length."""

from atrous.footage.job import Progress, VideoSettings, segment_video
from atrous.footage.results import KINDS

__all__ = ["KINDS", "Progress", "VideoSettings", "segment_video"]
