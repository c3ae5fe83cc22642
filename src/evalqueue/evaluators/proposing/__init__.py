"""Parts of an app's document that a judge proposes, from some conversations of a dataset."""
