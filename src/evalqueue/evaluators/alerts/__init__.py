"""Alerts: messages when verdicts, judges or jobs change."""
