import pytest

from tests.fakes import FakeSpeaker
from tests.speaker_contract import SpeakerContract


class TestFakeSpeaker(SpeakerContract):
    @pytest.fixture
    def speaker(self):
        return FakeSpeaker()
