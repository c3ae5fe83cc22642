"""The job type `settle-batches`: what a job that is over has left at a vendor."""

from uuid import UUID

from evalqueue.jobtypes import JobParams


class SettleBatches(JobParams, job_type="settle-batches"):
    """Cancel the batches of a job that is over, and record what they answered.

    The database submits it when such a job ends.
    """

    job_id: UUID
    """The job that is over."""
