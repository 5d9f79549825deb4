"""The admin API for hooks for alerts."""
