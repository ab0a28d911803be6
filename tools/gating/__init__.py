"""`gate`: calibrates a bundle's gate on labelled pictures and shows what it does on others."""
