"""The statistics of a release and the decisions that rest on them; pure."""
