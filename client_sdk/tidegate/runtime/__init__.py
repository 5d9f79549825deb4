"""The process around the SDK: forks, uWSGI, threads, signals, late imports."""
