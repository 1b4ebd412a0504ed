"""The only access to the C core: validation of dtype, layout and bounds; errors; ownership of memory.

One module for each concept, as in the C core. Nothing outside this package handles C pointers.
"""
