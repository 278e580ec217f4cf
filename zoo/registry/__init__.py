"""Names to builders: entries, layers, plugins and the models of other libraries."""
