"""The admin API for segments."""
