"""What is too long for a judge: it is judged in parts, or fewer earlier turns are shown."""
