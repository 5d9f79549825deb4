"""The job that moves percentages from evidence."""
