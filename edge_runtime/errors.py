"""Error tree. Each message names what is wrong, where, and what to do about it."""


class EdgeRuntimeError(Exception):
    """Base of every error this package raises on purpose; commands print it as one line and exit with 2."""


class ConfigError(EdgeRuntimeError):
    """A settings or recipe file is wrong; the message names file, key and allowed values."""


class BundleError(EdgeRuntimeError):
    """A model bundle is missing, damaged, forged or not meant for this machine."""


class InferenceError(EdgeRuntimeError):
    """A predictor was given, or gave, something outside its contract."""


class CameraError(EdgeRuntimeError):
    """A camera or picture could not be opened or read."""


class SignalError(EdgeRuntimeError):
    """A serial port or GPIO line could not be opened, read or written."""


class StorageError(EdgeRuntimeError):
    """The records database or the picture folder could not be opened, read or written."""


class RecordConflict(StorageError):
    """A record contradicts one that is already kept, or cannot be kept by any database; trying again is in vain."""


class EndOfPictures(CameraError):
    """A finite picture source is used up; not a fault."""
