"""The admin API for roles."""
