"""leanclips: how small can training video get before it costs accuracy?"""

__version__ = "0.1.0"
