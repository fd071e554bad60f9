"""What the scanner did to the image: linear operators with their adjoints."""
