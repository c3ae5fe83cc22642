"""What LLM calls cost: prices of models, and costs of calls."""
