"""The admin API for the ledgers of releases."""
