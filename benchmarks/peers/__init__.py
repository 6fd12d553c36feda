"""How other libraries, and references written by hand, are asked for the same work."""
