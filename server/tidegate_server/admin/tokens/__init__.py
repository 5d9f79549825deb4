"""The admin API for tokens."""
