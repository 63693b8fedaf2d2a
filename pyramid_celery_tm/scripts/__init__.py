"""The commands: ``ws-celery``, ``ws-shell``, ``ws-run``."""
