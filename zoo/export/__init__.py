"""One run as files for other programs: the model in a format of theirs, checked, with a card that says what it is."""
