"""The admin API for simulated releases that show how real ones go."""
