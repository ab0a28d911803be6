"""The processes of the daemon and what travels between them."""
