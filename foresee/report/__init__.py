"""Draws what the other rooms return: figures, and pages that open without a network.

The class to use first is `foresee.report.page.Page`; `foresee.report.drive` shows how a job fills it. What
happened in training is drawn by `foresee.report.training.write_training`.
"""
