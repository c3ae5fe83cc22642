"""The commands about evaluators: what there is, and trying one."""
