"""Results in other tools' formats."""
