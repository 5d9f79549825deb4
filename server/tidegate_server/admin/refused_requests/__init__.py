"""The admin API for refused requests of applications."""
