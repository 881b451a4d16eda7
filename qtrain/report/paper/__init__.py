"""The ASLR paper's tables and figures, with ours beside them."""
