"""What is stored of one run: its schema, its folder, its learning curve."""
