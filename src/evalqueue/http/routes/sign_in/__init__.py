"""Sign in and out: by a token, or at an identity provider."""
