"""The admin API for groups."""
