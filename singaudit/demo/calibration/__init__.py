"""Calibration: models with planted answers, audited, and how often the audit was right."""
