"""The admin API for webhooks."""
