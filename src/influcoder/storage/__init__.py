"""Objects in a bucket or a folder: records, leases, downloads."""
