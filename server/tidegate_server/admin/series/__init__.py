"""The admin API for the numbers of releases over time."""
