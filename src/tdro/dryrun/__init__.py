"""What a run would do and what would stop it, told without loading a model or writing."""
