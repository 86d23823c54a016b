"""Studies and their videos: real recordings and rendered ones."""
