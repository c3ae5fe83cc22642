"""The settings of economy mode."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from evalqueue.environment import EnvironmentSettings


class EconomySettings(EnvironmentSettings):
    """How batches are made, from the environment."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    evalqueue_batch_questions: int = Field(default=50_000, ge=1)
    """Questions in one batch at most; the vendor may allow fewer."""
