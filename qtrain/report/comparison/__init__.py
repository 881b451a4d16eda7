"""A comparison's tables, figures, verdict and page."""
