"""OpenAI, or any server that is compatible with its chat completions."""

from pydantic import SecretStr

from evalqueue.evaluators.providers.provider import Provider, ProviderType, VendorSettings, plain


class OpenAISettings(VendorSettings):
    """The key, and the address of a compatible server."""

    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None


async def _open(settings: OpenAISettings, model: str) -> Provider:
    from evalqueue.evaluators.providers.openai import OpenAIProvider

    return OpenAIProvider.open(
        model=model,
        api_key=plain(settings.openai_api_key),
        base_url=settings.openai_base_url,
        name=OPENAI.name,
    )


def _missing(settings: OpenAISettings) -> str | None:
    if settings.openai_base_url and not settings.openai_api_key:
        return "OPENAI_API_KEY (any text, for a server that wants none)"
    return None


OPENAI = ProviderType(
    name="openai",
    settings=OpenAISettings,
    keys=("OPENAI_API_KEY",),
    missing=_missing,
    module="evalqueue.evaluators.providers.openai",
    open=_open,
    demo_model="gpt-4o-mini",
    price_address=lambda settings: settings.openai_base_url or "https://api.openai.com/v1",
)
