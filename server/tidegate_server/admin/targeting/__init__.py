"""The admin API for targeting and the kill switch."""
