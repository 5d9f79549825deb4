"""One module for each kind of page; every module has a function `register`."""
