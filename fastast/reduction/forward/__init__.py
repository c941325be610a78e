"""The forward pass over the blocks of an encoder, merged or not, and what becomes of every token on the way."""
