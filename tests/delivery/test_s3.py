"""Delivery to a real S3 server on loopback."""

import socket
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from moto.server import ThreadedMotoServer

from audio.network import HostPolicy
from cancel import CancelToken
from delivery import Bucket, Delivery, Spill
from delivery.s3 import BucketError, job_bucket
from errors import DeliveryFailed, FetchRefused, InvalidRequest
from settings import BucketSettings

AUDIO = bytes(range(256)) * 40
NAME = "finished-audio"
ANY_HOST = HostPolicy(allow_private=True)


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


def deliver(delivery, mode="s3", limit_bytes=10_000_000, job_id="job-1", **job):
    return delivery.deliver(
        AUDIO,
        delivery.validate(mode, job_id, CancelToken(), **job),
        extension="mp3",
        content_type="audio/mpeg",
        reply={"seed": 1, "warnings": []},
        limit_bytes=limit_bytes,
        hint="ask for less",
        cancel=CancelToken(),
    )


@pytest.fixture
def delivery(tmp_path, config):
    return Delivery(Spill(tmp_path / "audio_out"), Bucket(config, ANY_HOST))


def test_the_link_gives_the_audio_with_its_type(delivery, client, tmp_path):
    delivered = deliver(delivery)
    with urllib.request.urlopen(delivered.audio_url) as answer:
        assert answer.read() == AUDIO
        assert answer.headers["Content-Type"] == "audio/mpeg"
    assert delivered.audio is None
    assert not (tmp_path / "audio_out").exists()
    assert "X-Amz-Expires=86400" in delivered.audio_url
    assert "secret" not in delivered.audio_url


def test_auto_takes_the_bucket_only_for_what_does_not_fit(delivery):
    assert deliver(delivery, "auto").audio is not None
    delivered = deliver(delivery, "auto", limit_bytes=1)
    assert delivered.audio_url is not None
    assert "audio_url" in delivered.warnings[-1]


def test_a_job_that_comes_again_gets_a_fresh_link(delivery, tmp_path, config):
    job_input = {"text": "a"}
    deliver(delivery, job_input=job_input)
    other = Delivery(Spill(tmp_path / "audio_out"), Bucket(config, ANY_HOST))
    target = other.validate("s3", "job-1", CancelToken(), job_input=job_input)
    again = other.previous_result(target, CancelToken())
    with urllib.request.urlopen(again["audio_url"]) as answer:
        assert answer.read() == AUDIO
    assert "secret" not in (tmp_path / "audio_out" / "job-1.json").read_text()
    assert "X-Amz" not in (tmp_path / "audio_out" / "job-1.json").read_text()


def test_a_bucket_of_the_job_is_used_before_the_operators(tmp_path, store_url, client):
    client.create_bucket(Bucket="their-audio")
    delivery = Delivery(Spill(tmp_path / "audio_out"), None, ANY_HOST)
    s3_config = {
        "endpointUrl": store_url,
        "accessId": "key",
        "accessSecret": "secret",
        "bucketName": "their-audio",
    }
    assert deliver(delivery, s3_config=s3_config).audio_url
    assert client.get_object(Bucket="their-audio", Key="job-1.mp3")["Body"].read() == AUDIO


WHOLE = {
    "endpointUrl": "https://s3.example",
    "accessId": "key",
    "accessSecret": "secret",
    "bucketName": "their-audio",
}


def refusal(**changes):
    with pytest.raises(InvalidRequest) as caught:
        job_bucket({name: value for name, value in (WHOLE | changes).items() if value != "absent"}, None)
    return {problem.field: problem.render() for problem in caught.value.problems}


def test_a_bucket_of_the_job_must_be_whole():
    problems = refusal(accessSecret="absent", bucketName=" ", accessId=5, region=["eu"])
    assert list(problems) == [
        "s3Config.accessId",
        "s3Config.accessSecret",
        "s3Config.bucketName",
        "s3Config.region",
    ]
    assert problems["s3Config.accessSecret"] == "s3Config.accessSecret is required; send a string"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bucketName", "ab"),
        ("bucketName", "a" * 64),
        ("bucketName", "Their_Audio"),
        ("bucketName", "their..audio"),
        ("bucketName", "-audio"),
        ("bucketName", "../audio"),
        ("bucketName", "their/audio"),
        ("bucketName", "127.0.0.1"),
        ("bucketName", "áudio"),
        ("region", "eu west"),
        ("region", "eu/west"),
        ("region", "e" * 64),
        ("endpointUrl", "s3.example"),
        ("endpointUrl", "ftp://s3.example"),
        ("endpointUrl", "https://key@s3.example"),
        ("endpointUrl", "https://s3.example?x=y"),
        ("endpointUrl", "https://s3.example#x"),
        ("endpointUrl", "https://s3..example"),
        ("endpointUrl", "https://" + "a" * 64 + ".example"),
        ("endpointUrl", "https://"),
        ("endpointUrl", "https://s3.example\r\nX: y"),
        ("accessId", "a\r\nb"),
        ("accessSecret", "\ud800"),
    ],
)
def test_what_no_bucket_can_have_is_refused_before_the_work(field, value):
    problems = refusal(**{field: value})
    assert list(problems) == [f"s3Config.{field}"]
    assert "; send " in problems[f"s3Config.{field}"]


def test_all_that_is_wrong_with_a_bucket_is_said_at_once():
    assert len(refusal(bucketName="A", region="", endpointUrl="s3.example", accessId="a b")) == 3


def test_a_region_beside_an_endpoint_of_another_is_refused():
    problems = refusal(endpointUrl="https://s3.us-west-2.amazonaws.com", region="eu-west-1")
    assert "which is us-west-2" in problems["s3Config.region"]


def test_a_bucket_of_the_job_takes_the_operators_region_in_the_same_store_alone():
    same = BucketSettings("https://s3.example/", "key", "secret", "ours", "eu-1", 60)
    assert job_bucket(WHOLE, same).region == "eu-1"
    assert job_bucket(WHOLE | {"region": "eu-2"}, same).region == "eu-2"
    other = BucketSettings("https://s3.elsewhere", "key", "secret", "ours", "eu-1", 60, "ours/")
    bucket = job_bucket(WHOLE, other)
    assert (bucket.region, bucket.url_expiry_s, bucket.key_prefix) == (None, 60, "")


@pytest.mark.parametrize("url", ["https://10.0.0.1", "https://their-audio.127.0.0.1", "https://localhost"])
def test_a_bucket_of_the_job_at_a_private_address_is_refused_before_the_work(tmp_path, url):
    with pytest.raises(FetchRefused, match="s3Config.endpointUrl leads to an address that is not public"):
        Delivery(Spill(tmp_path)).validate(
            "s3", "job-1", CancelToken(), s3_config=WHOLE | {"endpointUrl": url}
        )
    with pytest.raises(FetchRefused, match="s3Config.endpointUrl must be an https URL"):
        Delivery(Spill(tmp_path)).validate(
            "s3",
            "job-1",
            CancelToken(),
            s3_config=WHOLE | {"endpointUrl": url.replace("https", "http")},
        )


def test_without_any_bucket_s3_is_refused_before_the_work(tmp_path):
    with pytest.raises(InvalidRequest, match="s3Config"):
        Delivery(Spill(tmp_path)).validate("s3", "job-1", CancelToken())


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
        yield Bucket(BucketSettings(url, "key", "secret", NAME), ANY_HOST, pause_s=0.01), handler
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("first", [503, 0], ids=["busy", "cut off"])
def test_an_upload_that_fails_once_is_tried_again(tmp_path, first):
    with store_that_answers(first, 200) as (bucket, handler):
        assert deliver(Delivery(Spill(tmp_path / "audio_out"), bucket)).audio_url
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
        delivery = Delivery(Spill(tmp_path / "audio_out"), bucket)
        with pytest.raises(DeliveryFailed, match=said) as caught:
            deliver(delivery)
        assert "audio_out/job-1.mp3" in caught.value.message
        assert str(tmp_path) not in caught.value.message
        assert (tmp_path / "audio_out" / "job-1.mp3").read_bytes() == AUDIO
        delivered = deliver(delivery, "auto", limit_bytes=1)
        assert delivered.audio_path
        assert said in delivered.warnings[0]


def test_a_bucket_that_is_not_there_on_the_real_server(tmp_path, config):
    missing = Bucket(BucketSettings(config.endpoint_url, "key", "secret", "no-such-bucket"), ANY_HOST)
    with pytest.raises(DeliveryFailed, match="there is no such bucket"):
        deliver(Delivery(Spill(tmp_path / "audio_out"), missing))


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
    wrong = Bucket(BucketSettings(strict_store, "AKIAUNKNOWN", "secret", NAME), ANY_HOST)
    with pytest.raises(DeliveryFailed, match="the access key is not known"):
        deliver(Delivery(Spill(tmp_path / "audio_out"), wrong))
    assert (tmp_path / "audio_out" / "job-1.mp3").read_bytes() == AUDIO


def test_nobody_there_and_no_volume_is_said_too(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        nobody = Bucket(BucketSettings(url, "key", "secret", NAME), ANY_HOST, pause_s=0.01)
        with pytest.raises(DeliveryFailed, match="and the volume did not take the audio"):
            deliver(Delivery(Spill(tmp_path / "gone" / "audio_out"), nobody))
        with pytest.raises(BucketError):
            nobody.upload("key", b"", "audio/wav")


def test_keys_stay_out_of_what_is_printed():
    printed = repr(BucketSettings("https://s3.example", "AKIAKNOWN", "very private", NAME))
    assert "AKIAKNOWN" not in printed
    assert "very private" not in printed
