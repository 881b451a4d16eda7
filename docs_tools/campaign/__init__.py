"""What the evidence campaign has found so far, from its records alone; a run that is still to come is missing."""
