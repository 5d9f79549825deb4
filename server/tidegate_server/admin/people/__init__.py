"""The admin API for people."""
