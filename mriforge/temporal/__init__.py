"""Time in a scan of many dimensions: motion signals, bins, and the temporal basis."""
