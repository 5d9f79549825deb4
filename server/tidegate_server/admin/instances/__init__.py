"""The admin API for SDK instances."""
