"""What the platform's publishing guide says of hub.json and tests.json, as models."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, model_validator
from pydantic.alias_generators import to_camel

GPU_POOLS = {
    "AMPERE_16",
    "AMPERE_24",
    "ADA_24",
    "AMPERE_48",
    "ADA_48_PRO",
    "AMPERE_80",
    "ADA_80_PRO",
    "HOPPER_141",
}
CudaVersion = Annotated[str, Field(pattern=r"^1[1-3]\.\d$")]
Text = Annotated[str, Field(min_length=1)]


def _check_gpu_ids(gpu_ids: str) -> str:
    """Pools, comma-separated, and GPUs to leave out, each after a minus sign."""
    wanted = [entry for entry in gpu_ids.split(",") if not re.fullmatch("-[A-Z].+", entry)]
    assert wanted, "at least one pool"
    assert set(wanted) <= GPU_POOLS, f"unknown pools: {set(wanted) - GPU_POOLS}"
    return gpu_ids


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Option(Strict):
    label: Text
    value: Text


class Input(Strict):
    name: Text
    type: Literal["string", "number", "boolean", "huggingface"]
    description: Text
    default: str | int | bool
    advanced: bool = False
    options: list[Option] | None = None
    min: int | None = None
    max: int | None = None

    @model_validator(mode="after")
    def check_that_it_fits_its_type(self) -> Input:
        kind = {"number": int, "boolean": bool}.get(self.type, str)
        assert type(self.default) is kind, f"the default of a {self.type}"
        assert self.type == "number" or (self.min is None and self.max is None), "only numbers have limits"
        if self.options is not None:
            assert self.default in [option.value for option in self.options], "the default is an option"
        if self.type == "number":
            assert self.min is not None
            assert self.max is not None
            assert self.min <= self.default <= self.max
        return self

    def offered(self) -> list[Any]:
        """The values that a form with this input lets through, or its limits."""
        chosen = [option.value for option in self.options or ()]
        return [*chosen, *(limit for limit in (self.min, self.max) if limit is not None)]


class Variable(Strict):
    """A variable that the form asks for, or one with a fixed value."""

    key: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    input: Input | None = None
    value: str | None = None

    @model_validator(mode="after")
    def check_that_it_has_one_of_both(self) -> Variable:
        assert (self.input is None) != (self.value is None), f"{self.key}: an input or a value"
        return self

    @property
    def default(self) -> str:
        """The value that an endpoint has whose owner changes nothing."""
        return str(self.value if self.input is None else self.input.default)


class Preset(Strict):
    """Values that the form is filled in with, by variable."""

    name: Text
    defaults: Annotated[dict[str, str | int | bool], Field(min_length=1)]


class HubConfig(Strict):
    """For GPUs; the guide's other half, for CPUs, has a cpuFlavor instead."""

    runs_on: Literal["GPU"]
    endpoint_type: Literal["LB"] | None = None  # without it the endpoint has a queue
    container_disk_in_gb: Annotated[int, Field(gt=0)]
    gpu_count: Annotated[int, Field(gt=0)]
    gpu_ids: Annotated[str, AfterValidator(_check_gpu_ids)]
    allowed_cuda_versions: list[CudaVersion]
    presets: list[Preset] = []
    env: list[Variable]

    @model_validator(mode="after")
    def check_that_presets_fill_in_what_the_form_asks_for(self) -> HubConfig:
        inputs = {variable.key: variable.input for variable in self.env if variable.input is not None}
        for preset in self.presets:
            for key, value in preset.defaults.items():
                assert key in inputs, f"{preset.name}: the form does not ask for {key}"
                Input.model_validate(inputs[key].model_dump(by_alias=True) | {"default": value})
        return self


class HubListing(Strict):
    title: Text
    description: Text
    type: Literal["serverless"]
    category: Literal["audio", "embedding", "language", "video", "image"]
    icon_url: Annotated[HttpUrl, Field(strict=False)]
    config: HubConfig


class HubTest(Strict):
    name: Text
    input: dict[str, Any]
    timeout: Annotated[int, Field(ge=1000, description="milliseconds")]


class HubTestVariable(Strict):
    key: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    value: str


class HubTestConfig(Strict):
    gpu_type_id: Annotated[str, Field(pattern="^NVIDIA ")]
    gpu_count: Annotated[int, Field(gt=0)]
    allowed_cuda_versions: list[CudaVersion]
    env: list[HubTestVariable] = []


class HubTests(Strict):
    tests: Annotated[list[HubTest], Field(min_length=1)]
    config: HubTestConfig
