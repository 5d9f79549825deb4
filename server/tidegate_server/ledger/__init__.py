"""A release's ledger: its entries, their replay, and the release explained in words; pure."""
