"""The vendors, one module or package each. None imports another, or its own SDK before `open`."""
