"""Requests to other servers, bounded in time, in size and in where they may go."""
