"""The suite. A regular package, because `test` is also one of Python's own, which would be found before it."""
