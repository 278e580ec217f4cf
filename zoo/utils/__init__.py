"""What any other package may use: files, seeds, statistics, the machine; it knows nothing of models or runs."""
