"""The one door to the C core: checks of dtype, layout and bounds; status to exception; ownership.

One module a concept, as in the C core. Nothing outside of this package sees a C pointer.
"""
