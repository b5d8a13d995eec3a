"""Data sets: reading their layouts, parting them, checking them, and feeding them to a training."""
