"""How the small demonstration model is made: texts, speech, and one stage of training after the other."""
