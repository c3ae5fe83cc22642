"""A simulated LLM vendor: OpenAI, Azure OpenAI and Gemini on loopback."""
