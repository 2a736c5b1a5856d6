"""What `make demo` shows: a merchant's messy files and the story told from them."""
