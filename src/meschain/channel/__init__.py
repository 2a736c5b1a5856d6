"""What every marketplace is built from: the contract, its outcomes, limits as data, transport."""
