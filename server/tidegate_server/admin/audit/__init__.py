"""The admin API for the audit log."""
