"""Images from files: archives, parquet, folders."""
