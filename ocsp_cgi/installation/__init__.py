"""What `install` puts in place, one file for each kind of thing: each finds out what is missing,
and plans it."""
