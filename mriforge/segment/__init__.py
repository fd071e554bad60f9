"""Outlining abdominal organs: three views of one network, their vote, and where they disagree."""
