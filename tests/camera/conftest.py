"""Real sources of pictures: folders, a video file, and an MJPEG stream over HTTP that can vanish and come back."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

PICTURE_HW = (48, 64)


def numbered_picture(number: int, image_hw: tuple[int, int] = PICTURE_HW) -> np.ndarray:
    """Flat blocks that survive JPEG: the top left corner is brighter the higher `number` is."""
    image = np.full((*image_hw, 3), 40, np.uint8)
    image[: image_hw[0] // 2, : image_hw[1] // 2] = 8 * number
    return image


@pytest.fixture
def picture():
    return numbered_picture


@pytest.fixture
def number_of():
    """The number in a picture that `numbered_picture` made."""
    return lambda image: round(float(image[4:16, 4:16].mean()) / 8)


@pytest.fixture
def folder(tmp_path):
    """Ten pictures, 1.png to 10.png."""
    path = tmp_path / "pictures"
    path.mkdir()
    for number in range(1, 11):
        assert cv2.imwrite(str(path / f"{number}.png"), numbered_picture(number))
    return path


@pytest.fixture
def video(tmp_path):
    """Ten frames, numbered from 1, at 50 Hz."""
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50, PICTURE_HW[::-1])
    for number in range(1, 11):
        writer.write(numbered_picture(number))
    writer.release()
    return path


class StreamServer:
    """An HTTP camera: multipart JPEG, numbers going round 0..29 at 50 Hz, silent while `silent` is set."""

    def __init__(self, port: int = 0) -> None:
        self._gone = threading.Event()
        self.silent = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/stream.mjpg"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    def vanish(self) -> None:
        """Break all connections and refuse new ones."""
        self._gone.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def come_back(self) -> "StreamServer":
        return StreamServer(self.port)

    def _handler(self):
        gone, silent = self._gone, self.silent
        jpegs = [cv2.imencode(".jpg", numbered_picture(number))[1].tobytes() for number in range(30)]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                number = 0
                while not gone.wait(0.02):
                    if not silent.is_set() and not self._send(jpegs[number % len(jpegs)]):
                        return
                    number += 1

            def _send(self, jpeg):
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                try:
                    self.wfile.write(head + jpeg + b"\r\n")
                except OSError:
                    return False
                return True

            def log_message(self, *args):
                pass

        return Handler


@pytest.fixture
def stream():
    """A function that starts a StreamServer, all of which end with the test."""
    servers = []

    def start(server: StreamServer | None = None) -> StreamServer:
        servers.append(server or StreamServer())
        return servers[-1]

    yield start
    for server in servers:
        server.vanish()
