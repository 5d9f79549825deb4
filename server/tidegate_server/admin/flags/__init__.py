"""The admin API for flags."""
