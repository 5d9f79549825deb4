"""The admin API for policies."""
