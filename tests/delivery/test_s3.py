"""Delivery to a real S3 server on loopback."""

import socket
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from moto.server import ThreadedMotoServer

from delivery import Bucket, Deliverer, Spill
from delivery.s3 import BucketError
from errors import DeliveryFailed, FetchFailed, FetchRefused, InvalidRequest
from operations.base import Job
from settings import BucketSettings

AUDIO = bytes(range(256)) * 40
NAME = "finished-audio"


@pytest.fixture(scope="module")
def store_url():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def client(store_url):
    client = boto3.client(
        "s3",
        endpoint_url=store_url,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=NAME)
    return client


@pytest.fixture
def config(store_url, client):
    return BucketSettings(store_url, "key", "secret", NAME)


def deliver(deliverer, mode="s3", limit_bytes=10_000_000, job_id="job-1", **job):
    asked = Job(job_id, limit_bytes, **job)
    deliverer.prepare(mode, asked)
    return deliverer.deliver(
        AUDIO,
        extension="mp3",
        mode=mode,
        reply={"seed": 1, "warnings": []},
        advice="ask for less",
        job=asked,
    )


@pytest.fixture
def deliverer(tmp_path, config):
    return Deliverer(Spill(tmp_path / "audio_out"), Bucket(config))


def test_the_link_gives_the_audio_with_its_type(deliverer, client, tmp_path):
    delivered = deliver(deliverer)
    with urllib.request.urlopen(delivered.audio_url) as answer:
        assert answer.read() == AUDIO
        assert answer.headers["Content-Type"] == "audio/mpeg"
    assert delivered.audio is None
    assert not (tmp_path / "audio_out").exists()
    assert "X-Amz-Expires=86400" in delivered.audio_url
    assert "secret" not in delivered.audio_url


def test_auto_takes_the_bucket_only_for_what_does_not_fit(deliverer):
    assert deliver(deliverer, "auto").audio is not None
    delivered = deliver(deliverer, "auto", limit_bytes=1)
    assert delivered.audio_url is not None
    assert "audio_url" in delivered.warnings[-1]


def test_a_job_that_comes_again_gets_a_fresh_link(deliverer, tmp_path, config):
    job_input = {"text": "a"}
    deliver(deliverer, input=job_input)
    again = Deliverer(Spill(tmp_path / "audio_out"), Bucket(config)).repeat(
        Job("job-1", None, input=job_input)
    )
    with urllib.request.urlopen(again["audio_url"]) as answer:
        assert answer.read() == AUDIO
    assert "secret" not in (tmp_path / "audio_out" / "job-1.json").read_text()
    assert "X-Amz" not in (tmp_path / "audio_out" / "job-1.json").read_text()


def test_a_bucket_of_the_job_is_used_before_the_operators(tmp_path, store_url, client):
    client.create_bucket(Bucket="theirs")
    deliverer = Deliverer(Spill(tmp_path / "audio_out"), None)
    s3_config = {
        "endpointUrl": store_url,
        "accessId": "key",
        "accessSecret": "secret",
        "bucketName": "theirs",
    }
    assert deliver(deliverer, s3_config=s3_config).audio_url
    assert client.get_object(Bucket="theirs", Key="job-1.mp3")["Body"].read() == AUDIO


def test_a_bucket_of_the_job_must_be_whole_and_allowed(tmp_path, store_url):
    def refuse(url, field):
        raise FetchRefused(f"{field} leads to an address that is not public")

    deliverer = Deliverer(Spill(tmp_path), None, refuse)
    with pytest.raises(InvalidRequest, match="s3Config.accessSecret is required"):
        deliver(deliverer, s3_config={"endpointUrl": store_url, "accessId": "key", "bucketName": "b"})
    whole = {"endpointUrl": store_url, "accessId": "key", "accessSecret": "secret", "bucketName": "b"}
    with pytest.raises(FetchRefused, match="s3Config.endpointUrl"):
        deliver(deliverer, s3_config=whole)


def test_what_is_finished_is_delivered_though_the_look_at_the_endpoint_would_fail_now(
    tmp_path, store_url, client
):
    looks = []

    def look_once(url, field):
        looks.append(url)
        if len(looks) > 1:
            raise FetchFailed("its host is not known any more")

    keys = {"accessId": "key", "accessSecret": "secret"}
    s3_config = {"endpointUrl": store_url, "bucketName": NAME, **keys}
    assert deliver(Deliverer(Spill(tmp_path), None, look_once), s3_config=s3_config).audio_url
    assert looks == [store_url]


def test_without_any_bucket_s3_is_refused_before_the_work(tmp_path):
    with pytest.raises(InvalidRequest, match="s3Config"):
        Deliverer(Spill(tmp_path)).prepare("s3", Job("job-1", None))


def test_a_bucket_in_front_of_the_host_is_understood():
    from delivery.s3 import _without_bucket

    assert _without_bucket("https://audio.nyc3.example.com", "audio") == "https://nyc3.example.com"
    assert _without_bucket("https://nyc3.example.com/", "audio") == "https://nyc3.example.com"


class Answers(BaseHTTPRequestHandler):
    """Answers each request with the next status; 0 cuts the connection."""

    statuses: list[int] = []  # noqa: RUF012
    asked = 0

    def do_PUT(self):
        type(self).asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status == 0:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        codes = {403: "SignatureDoesNotMatch", 404: "NoSuchBucket", 503: "SlowDown"}
        body = f"<Error><Code>{codes[status]}</Code></Error>".encode() if status != 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Quiet."""


@contextmanager
def store_that_answers(*statuses):
    handler = type("Handler", (Answers,), {"statuses": list(statuses)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield Bucket(BucketSettings(url, "key", "secret", NAME)), handler
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("first", [503, 0], ids=["busy", "cut off"])
def test_an_upload_that_fails_once_is_tried_again(tmp_path, first):
    with store_that_answers(first, 200) as (bucket, handler):
        assert deliver(Deliverer(Spill(tmp_path / "audio_out"), bucket)).audio_url
        assert handler.asked == 2


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (503, "answered SlowDown"),
        (403, "the secret key does not fit"),
        (404, "no such bucket"),
        (0, "did not answer"),
    ],
)
def test_what_a_bucket_does_not_take_stays_on_the_volume(tmp_path, status, said):
    with store_that_answers(status) as (bucket, _):
        deliverer = Deliverer(Spill(tmp_path / "audio_out"), bucket)
        with pytest.raises(DeliveryFailed, match=said) as caught:
            deliver(deliverer)
        assert "audio_out/job-1.mp3" in caught.value.message
        assert str(tmp_path) not in caught.value.message
        assert (tmp_path / "audio_out" / "job-1.mp3").read_bytes() == AUDIO
        delivered = deliver(deliverer, "auto", limit_bytes=1)
        assert delivered.audio_path
        assert said in delivered.warnings[0]


def test_a_bucket_that_is_not_there_on_the_real_server(tmp_path, config):
    missing = Bucket(BucketSettings(config.endpoint_url, "key", "secret", "no-such-bucket"))
    with pytest.raises(DeliveryFailed, match="there is no such bucket"):
        deliver(Deliverer(Spill(tmp_path / "audio_out"), missing))


@pytest.fixture
def strict_store(store_url, client):
    """The real server, asking for keys that it knows."""
    ask(f"{store_url}/moto-api/reset-auth", b"0")
    yield store_url
    ask(f"{store_url}/moto-api/reset-auth", b"inf")


def ask(url: str, data: bytes) -> None:
    request = urllib.request.Request(url, data, {"Content-Type": "text/plain"}, method="POST")
    with urllib.request.urlopen(request):
        pass


def test_keys_that_the_real_server_does_not_know(tmp_path, strict_store):
    wrong = Bucket(BucketSettings(strict_store, "AKIAUNKNOWN", "secret", NAME))
    with pytest.raises(DeliveryFailed, match="the access key is not known"):
        deliver(Deliverer(Spill(tmp_path / "audio_out"), wrong))
    assert (tmp_path / "audio_out" / "job-1.mp3").read_bytes() == AUDIO


def test_nobody_there_and_no_volume_is_said_too(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = Bucket(BucketSettings(f"http://127.0.0.1:{free.getsockname()[1]}", "key", "secret", NAME))
        with pytest.raises(DeliveryFailed, match="and the volume did not take the audio"):
            deliver(Deliverer(Spill(tmp_path / "gone" / "audio_out"), nobody))
        with pytest.raises(BucketError):
            nobody.upload("key", b"")


def test_keys_stay_out_of_what_is_printed(config):
    assert "secret" not in repr(config)
