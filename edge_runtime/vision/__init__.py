"""Pure arithmetic on arrays: no file, device, clock or thread."""
