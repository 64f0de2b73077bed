"""Text, speech, features, training, export and evaluation of the recognizer that the project ships."""
