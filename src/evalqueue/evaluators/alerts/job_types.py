"""The job types of alerts: `check-alerts` and `deliver-alert`. The database, and the first of them,
submit them."""

from uuid import UUID

from evalqueue.jobtypes import JobParams

DELIVERIES_MAX = 12
"""Attempts to reach a receiver, over six hours."""


class CheckAlerts(JobParams, job_type="check-alerts"):
    """Look whether alerts fire or recover by a job that has ended.

    The database submits it when such a job ends.
    """

    job_id: UUID
    """The job that has ended."""


class DeliverAlert(JobParams, job_type="deliver-alert"):
    """Send what an alert tells to its webhook."""

    event_id: UUID
    """What is told."""
