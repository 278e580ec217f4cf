"""One run as files for other programs: the model in their format, checked, with a model card."""
