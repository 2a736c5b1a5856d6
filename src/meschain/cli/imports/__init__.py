"""Commands about imports as a whole: what came in, and putting one back."""
