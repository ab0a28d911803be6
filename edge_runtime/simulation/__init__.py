"""A line around the real daemon: belt, encoder, photo-eye, ejector and controller, with everything that goes wrong."""
