"""The admin API for projects and environments."""
