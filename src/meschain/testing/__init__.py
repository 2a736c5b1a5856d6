"""What tests are built from, for our folders and for others'."""
