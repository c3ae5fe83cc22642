"""What processes report of their work: spans of OpenTelemetry, and log records."""
