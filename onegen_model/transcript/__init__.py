"""The transcript: from text to ids and back."""
