from judged_runs import client, judged

__all__ = ["client", "judged"]
