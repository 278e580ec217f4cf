"""Comparisons, studies, speeds and recipes as text, Markdown, CSV, LaTeX, JSON and figures."""
