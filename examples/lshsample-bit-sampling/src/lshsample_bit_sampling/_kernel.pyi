"""What cffi makes of csrc/family.h."""

from typing import Any

ffi: Any
lib: Any
