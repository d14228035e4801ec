"""A mixture in the form other training libraries take."""
