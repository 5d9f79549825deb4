"""The admin API for sessions."""
