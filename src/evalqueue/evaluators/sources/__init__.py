"""Conversations from production: which ones are new, which are taken, and their evaluation.

A source is a table or view of messages in a database of the user's. It is named in the settings of
the processes that read it, and is only read. No SQL comes from a job. The source `posted` is what
applications have posted to us.
"""
