"""The tables of the ASLR paper, run by run."""
