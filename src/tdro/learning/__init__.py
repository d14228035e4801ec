"""Learning a mixture."""
