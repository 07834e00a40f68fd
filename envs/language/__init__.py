"""How a problem is written: tokens, expressions, phrasings, and the parser."""
