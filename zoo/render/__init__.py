"""Text, tables and plots of what is stored or measured."""
