"""From a photograph to the classifier's input, as its own library would."""
