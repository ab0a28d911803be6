"""Bytes in, messages out: no port, thread or clock."""
