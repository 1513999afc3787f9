"""What the commands and the tests are made of."""
