"""Many runs at a glance: found below folders, read by their records alone, sorted, filtered and shown as a table."""
