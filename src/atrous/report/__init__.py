"""The page that a run ends with: one HTML file with the scores, the curves, the mistakes and what to do next."""

from atrous.report.page import Page, write_page

__all__ = ["Page", "write_page"]
