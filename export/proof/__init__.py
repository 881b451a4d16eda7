"""The proofs: against torch, beyond the test set, inside the compiler, and in other executors."""
