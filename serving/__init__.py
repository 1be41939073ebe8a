"""A job's life: threads, time limits, cancelling, health, shutdown. Each transport is a folder in here."""
