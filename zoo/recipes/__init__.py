"""Recipes: their schema, their files, and the list of those with a name."""
