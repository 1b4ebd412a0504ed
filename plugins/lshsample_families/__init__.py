"""The hash families that come with lshsample: plugins like any other."""
