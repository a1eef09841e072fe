"""Masters to student notebooks, deterministic to the byte, and the proof that the questions do what they say."""
