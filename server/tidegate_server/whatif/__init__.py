"""What would happen: simulated releases, and backtests of recorded ones; pure."""
