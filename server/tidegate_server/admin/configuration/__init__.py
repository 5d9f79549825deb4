"""The admin API for a whole project's configuration: export, plan and apply."""
