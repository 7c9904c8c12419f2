"""What runs behind an endpoint: the contract with training, predictors, and the server."""
