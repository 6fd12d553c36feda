"""One file per claim: each measures it next to other libraries and checks that all computed the same."""
