"""The params of a job about the requests to its LLM."""

import json
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from evalqueue.problems import OneLine

MAX_SETTINGS_BYTES = 10_000
MAX_OUTPUT_TOKENS = 1_000_000

_OURS = {
    "model": "llm_model",
    "temperature": "temperature",
    "maxtokens": "max_output_tokens",
    "maxcompletiontokens": "max_output_tokens",
    "maxoutputtokens": "max_output_tokens",
}
"""Parameters that have a param of their own, as `_key` spells them."""
_FIXED = frozenset({
    "messages", "contents", "systeminstruction", "responseformat", "responsemimetype",
    "responseschema", "responsejsonschema", "generationconfig", "stream", "streamoptions", "n",
    "candidatecount", "tools", "toolchoice", "toolconfig", "functions", "functioncall",
    "mockresponse",
})  # fmt: skip
"""Parameters that a job can't choose: an answer could not be read with others."""
_SECRET = re.compile(
    r"apikey|apibase|baseurl|endpoint|headers|extrabody|extraquery|authorization|credential|"
    r"password|secret|usertoken|accesstoken|bearer"
)


class ModelParams(BaseModel):
    """Which LLM is asked, how much it may write, and what else it is asked with."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    llm_provider: Annotated[str, OneLine] | None = None
    """`openai`, `azure_openai`, `gemini` or `simulated`. Default: the one whose key is set."""
    llm_model: Annotated[str, Field(min_length=1), OneLine] | None = None
    """Default: EVALQUEUE_LLM_MODEL, else the provider's."""
    temperature: float = Field(default=0.1, ge=0, le=2)
    """The temperature of the judge."""
    max_output_tokens: int | None = Field(default=None, ge=16, le=MAX_OUTPUT_TOKENS)
    """The output tokens of one LLM call, with the reasoning before the answer. An answer that was
    cut off is requested once more, with more. Default: 4096; 2048 for simulated users."""
    model_settings: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Further parameters of the LLM in its vendor's spelling, passed on as they are:
    `{"reasoning_effort": "low"}`."""

    @field_validator("model_settings")
    @classmethod
    def _not_ours(cls, settings: dict[str, Any]) -> dict[str, Any]:
        for name in settings:
            key = _key(name)
            if key in _OURS:
                raise ValueError(f"{name} is not a setting: use the param {_OURS[key]}")
            if key in _FIXED:
                raise ValueError(f"{name} can't be set: the product sets it itself")
            if _SECRET.search(key):
                raise ValueError(
                    f"{name} can't be set: addresses and credentials never travel in a job"
                )
        size = len(json.dumps(settings, allow_nan=False))
        if size > MAX_SETTINGS_BYTES:
            raise ValueError(f"They have {size} bytes; {MAX_SETTINGS_BYTES} are allowed")
        return settings


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
