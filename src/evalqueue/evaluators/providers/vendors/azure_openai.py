"""Azure OpenAI, where a deployment's name stands for the model."""

from pydantic import SecretStr

from evalqueue.evaluators.providers.provider import Provider, ProviderType, VendorSettings, plain


class AzureOpenAISettings(VendorSettings):
    """The key, the address and the deployment."""

    azure_openai_api_key: SecretStr | None = None
    azure_openai_endpoint: str | None = None
    openai_api_version: str = "2025-03-01-preview"
    azure_openai_deployment: str | None = None
    azure_openai_batch_deployment: str | None = None
    """Of the type Global Batch, for the same model: it answers batches only."""


async def _open(settings: AzureOpenAISettings, model: str) -> Provider:
    from evalqueue.evaluators.providers.openai import OpenAIProvider

    return OpenAIProvider.open_azure(
        deployment=model,
        api_key=plain(settings.azure_openai_api_key),
        endpoint=settings.azure_openai_endpoint or "",
        api_version=settings.openai_api_version,
        name=AZURE_OPENAI.name,
        batch_deployment=settings.azure_openai_batch_deployment,
    )


def _without_batches(settings: AzureOpenAISettings) -> str | None:
    if settings.azure_openai_batch_deployment:
        return None
    return (
        "mode: economy needs a deployment of the type Global Batch, of the same model: set "
        "AZURE_OPENAI_BATCH_DEPLOYMENT"
    )


def _missing(settings: AzureOpenAISettings) -> str | None:
    if settings.azure_openai_api_key and not settings.azure_openai_endpoint:
        return "AZURE_OPENAI_ENDPOINT"
    return None


AZURE_OPENAI = ProviderType(
    name="azure_openai",
    settings=AzureOpenAISettings,
    keys=("AZURE_OPENAI_API_KEY",),
    missing=_missing,
    module="evalqueue.evaluators.providers.openai",
    open=_open,
    without_batches=_without_batches,
    price_address=lambda settings: settings.azure_openai_endpoint,
    default_model=lambda settings: settings.azure_openai_deployment,
)
