"""The admin API for release ledgers."""
