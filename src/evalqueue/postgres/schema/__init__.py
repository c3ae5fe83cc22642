"""The schema: applied, upgraded, planned, and checked at start.

Table files (`sql/tables`, after procrastinate's own migrations) are applied once and in order, and
never change. Functions, views and triggers (`sql/functions`) are re-applied when they differ from
what the database has. Both are recorded by name and digest in `evalqueue_migrations`. Everything
goes into the first schema of the search_path.
"""

from evalqueue.postgres.schema.ledger import own_migrations, pending, verify
from evalqueue.postgres.schema.migrating import WAIT_SECONDS, migrate
from evalqueue.postgres.schema.plan import LockedTable, Step, plan
from evalqueue.postgres.schema.rights import LackedRights, Role, of_session

__all__ = [
    "WAIT_SECONDS", "LackedRights", "LockedTable", "Role", "Step", "migrate", "of_session",
    "own_migrations", "pending", "plan", "verify",
]  # fmt: skip
