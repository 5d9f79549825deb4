"""The admin API for releases."""
