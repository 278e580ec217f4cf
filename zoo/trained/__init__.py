"""Stored weights: loaded, evaluated on other images, asked for a prediction."""
