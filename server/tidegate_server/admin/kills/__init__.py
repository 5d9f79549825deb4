"""The admin API for the kill switch."""
