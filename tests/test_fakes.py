import pytest

from tests.fakes import FakeSynthesizer
from tests.synthesizer_contract import SynthesizerContract


class TestFakeSynthesizer(SynthesizerContract):
    @pytest.fixture
    def synthesizer(self):
        return FakeSynthesizer()
