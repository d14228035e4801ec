"""Reading and preparing training collections."""
