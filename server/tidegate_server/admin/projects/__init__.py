"""The admin API for projects."""
