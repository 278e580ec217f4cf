"""A bench: models times seeds under one recipe, run by run."""
