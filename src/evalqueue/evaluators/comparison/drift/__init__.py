"""Whether a judge still judges as it did: a run is judged again, and compared with itself."""
