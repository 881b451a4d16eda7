"""A sweep's tables, figures and page."""

from qtrain.report.sweep.page import write_sweep_report

__all__ = ["write_sweep_report"]
