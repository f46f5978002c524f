"""A study: utterances that have a label and every stream, their folds, and what may be read of them."""
