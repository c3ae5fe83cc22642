"""Whether a worker can reach a chatbot, before it is tested."""
