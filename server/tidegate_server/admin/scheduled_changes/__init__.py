"""The admin API for scheduled changes."""
