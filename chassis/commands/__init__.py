"""Console commands: the parts that both services share."""
