"""Model bundles and the backends that run them, one file each."""
