"""Cases of adversarial tests: who the difficult user is, what they want, how they begin."""
