"""The one door to Paddle: zlib and OpenCV load before it.

paddlepaddle 2.6.2 exports its own zlib symbols. A process that imports it first cannot decode PNG any more (OpenCV
fails, Python's zlib crashes), so every module of this package takes Paddle from here.
"""

# isort: off
import zlib
import cv2

import paddle
# isort: on

__all__ = ["cv2", "paddle", "zlib"]
