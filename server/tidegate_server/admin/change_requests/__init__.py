"""The admin API for change requests."""
