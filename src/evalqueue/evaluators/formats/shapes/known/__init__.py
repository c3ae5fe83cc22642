"""The shapes there are, one to a module. `shapes.registry` lists them."""
