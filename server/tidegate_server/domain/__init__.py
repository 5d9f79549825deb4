"""What flags, segments, policies and releases are and may do; pure."""
