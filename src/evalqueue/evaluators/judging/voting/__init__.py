"""Several votes on one question: how they are counted, and the judge that asks for them."""
