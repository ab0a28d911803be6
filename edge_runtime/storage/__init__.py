"""What is kept: the records database and the picture files."""
