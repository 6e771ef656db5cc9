"""Paddock from within a program of one's own: in the shapes that people's code has already."""
