"""The registry's data, one module for each family: what every method is, asks for, costs and comes from."""
