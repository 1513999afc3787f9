"""The parts that commands and tests are made of."""
