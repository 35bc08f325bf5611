"""What one optimizer step computes: the images and boxes to train on, and the step itself."""
