"""What makes an artifact: data, fit, training, gate and packaging, from a file to a model.tar.gz."""
