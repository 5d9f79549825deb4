"""The admin API for hooks, and the route that receives alerts."""
