"""`reinspect`: a bundle over an archive of any size, resumable, on this machine's cores or on a Dask cluster."""
