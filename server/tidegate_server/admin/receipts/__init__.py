"""The admin API for receipts: how far versions and kills have reached the SDK instances."""
