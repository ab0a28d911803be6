"""OpenCV and FFmpeg print to stderr what the drivers already tell as CameraError."""

import os

import cv2


def silence_native_logs() -> None:
    """For this process, from now on. FFmpeg reads its level when it first opens something: call this before."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
