"""The admin API for identity providers."""
