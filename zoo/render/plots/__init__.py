"""Plots for papers, with matplotlib."""
