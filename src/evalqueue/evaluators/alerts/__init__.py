"""Alerts: what people are told about when verdicts, judges or jobs change."""
