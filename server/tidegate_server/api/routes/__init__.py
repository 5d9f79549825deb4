"""The routes, one blueprint for each kind of thing; they translate HTTP and no more."""
