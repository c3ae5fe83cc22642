"""The protocols of chatbots, one module or package each. None imports another."""
