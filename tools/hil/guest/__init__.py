"""What runs inside the box, as root and beside the daemon: the standard library alone."""
