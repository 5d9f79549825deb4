"""The admin API: one folder for each resource."""
