"""A release's ledger: its entries, their replay, and its history in words; pure."""
