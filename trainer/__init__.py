"""Train and apply attention-MIL models from the store."""
