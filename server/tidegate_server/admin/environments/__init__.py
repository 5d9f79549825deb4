"""The admin API for environments."""
