"""Gemini, by API key (Gemini API) or by a Google Cloud credentials file (Vertex AI)."""

from pydantic import SecretStr

from evalqueue.evaluators.providers.provider import Provider, ProviderType, VendorSettings, plain


class GeminiSettings(VendorSettings):
    """The key, which has two names in Google's SDK, or the credentials file."""

    gemini_api_key: SecretStr | None = None
    google_api_key: SecretStr | None = None
    google_gemini_base_url: str | None = None
    google_application_credentials: str | None = None
    google_cloud_project: str | None = None
    google_cloud_location: str = "global"


async def _open(settings: GeminiSettings, model: str) -> Provider:
    from evalqueue.evaluators.providers.vendors.gemini.client import GeminiProvider

    if (
        settings.google_application_credentials
    ):  # meant for machines: takes precedence over a person's key
        return await GeminiProvider.open_vertex(
            model=model,
            project=settings.google_cloud_project,
            location=settings.google_cloud_location,
        )
    return await GeminiProvider.open(
        model=model,
        api_key=plain(settings.gemini_api_key or settings.google_api_key),
        base_url=settings.google_gemini_base_url,
    )


GEMINI = ProviderType(
    name="gemini",
    settings=GeminiSettings,
    keys=("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS"),
    module="evalqueue.evaluators.providers.vendors.gemini.client",
    open=_open,
    without_batches=lambda settings: (
        "Vertex AI takes batches from Cloud Storage only: economy mode needs GEMINI_API_KEY"
        if settings.google_application_credentials
        else None
    ),
    price_address=lambda settings: (
        settings.google_gemini_base_url or "https://generativelanguage.googleapis.com"
    ),
    demo_model="gemini-2.5-flash",
)
