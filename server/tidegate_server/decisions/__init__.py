"""The decision statistics and the decision itself; pure."""
