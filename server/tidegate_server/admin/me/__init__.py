"""The admin API for what people do with their own account."""
