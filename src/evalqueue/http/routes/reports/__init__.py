"""Reports of runs, documents for people and not JSON, and links that show them without a token."""

from evalqueue.http.operations import Operation
from evalqueue.http.routes.reports import documents, links

OPERATIONS: tuple[Operation, ...] = (*documents.OPERATIONS, *links.OPERATIONS)
