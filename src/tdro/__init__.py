"""Learn how much of each dataset an embedding model should be trained on."""
